/* The load generator: thousands of WebSocket clients in one thread, cheap enough not to be the bottleneck.
 *
 *     loadgen PORT PROTOCOL TARGETS [option=value …]        PROTOCOL: ws, socketio or nats
 *
 * TARGETS is a file with a line per client, its fields separated by tabs: the path of its handshake, a header for that
 * (or nothing), and each message that it sends once connected (for nats: the subjects it subscribes to, separated by
 * commas). Every message that is to be counted holds
 * a mark, ~TOPIC:NUMBER:NANOSECONDS~: a small number per topic, counted up from anywhere, and CLOCK_MONOTONIC when it was
 * published. Each client checks per topic that numbers have no gap and never go back.
 *
 * Then it obeys lines on its standard input, and answers each with one line of JSON:
 *     connect         connect all; done when each has received `ready` (any message, if that is empty)
 *     measure SECONDS count from now on for so long
 *     drop            break all connections, without a close frame
 *     resume COUNT    connect all again with ?since=, from where each stands on the first topic that it was told of and
 *                     whose name begins with `resume`; done when each has received COUNT marks
 *     stop_reading N  the first N clients read no more
 *     cut_off         they read again, what is left for them: how many of them the server closed, with which code
 *
 * With the option deaf=N the first N clients have small buffers, and what they receive is not counted: what the others
 * receive can be compared before and after `stop_reading`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#define MAX_IN_FLIGHT 100
#define READ_BYTES (1 << 18)
#define FRAME_BYTES (1 << 24) /* NATS puts all that waits for a client into one frame */
#define BUCKETS (64 * 40)
#define DEAF_BUFFER 16384
#define NETWORK_SEGMENT 1400
#define INFLATED 16384 /* slots; clients that lag behind still ask for older frames */
#define COMPRESSION \
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"

enum protocol { WS, SOCKETIO, NATS };
enum state { IDLE, CONNECTING, HANDSHAKE, OPEN, CLOSED };

struct client {
    int fd;
    enum state state;
    char *path, *header, *greeting; /* several greetings: separated by tabs */
    char *rest;           /* bytes of a frame that has not arrived whole */
    size_t rest_len;
    char carry[96];       /* nats: a mark that was cut in two by the end of a frame */
    size_t carry_len;
    uint32_t *last;       /* the last number seen, by topic */
    uint32_t marks;       /* since the last connect or resume */
    char since[160];      /* topic:epoch, once `welcome` has told it */
    uint64_t offset;
    uint64_t opened_ns;
    int ready, deaf, stopped;
};

static struct client *clients;
static int client_count, port, topics = 1, compressed, track_offsets;
static const char *ready_text = "", *resume_text = "";
static int deaf_count;
static enum protocol protocol;
static int poller;
static uint64_t cut_off, cut_off_4008;
static uint64_t marks_count, bytes_count, gaps, repeats, closed_count, refused_count, now_ns, histogram[BUCKETS], max_ns;
static int ready_count, in_flight, next_to_connect, resuming, command_waits;
static uint32_t wanted_marks;
static char chunk[FRAME_BYTES + READ_BYTES + 1];

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Latencies, in buckets that are at most 1/32 wide */

static void record(uint64_t ns) {
    uint64_t us = ns / 1000;
    int exponent = us < 64 ? 0 : 58 - __builtin_clzll(us);
    int bucket = exponent * 64 + (int)(us >> exponent);
    histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (ns > max_ns) max_ns = ns;
}

static double percentile_ms(double share) {
    uint64_t wanted = (uint64_t)(share * marks_count), seen = 0;
    for (int b = 0; b < BUCKETS; b++) {
        seen += histogram[b];
        if (histogram[b] && seen >= wanted) return (double)((uint64_t)(b % 64) << (b / 64)) / 1000;
    }
    return max_ns / 1e6;
}

/* Sending: small frames only, so a short write is a failure */

static void send_bytes(struct client *c, const char *data, size_t len) {
    if (send(c->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len) c->ready |= 2;
}

static void send_frame(struct client *c, int opcode, const char *data, size_t len) {
    char frame[4200];
    size_t head = 2;
    if (len > 4096) return;
    frame[0] = (char)(0x80 | opcode);
    if (len < 126) frame[1] = (char)(0x80 | len);
    else frame[1] = (char)(0x80 | 126), frame[2] = (char)(len >> 8), frame[3] = (char)len, head = 4;
    memset(frame + head, 0, 4); /* a mask of zeros */
    memcpy(frame + head + 4, data, len);
    send_bytes(c, frame, head + 4 + len);
}

/* Connections */

static void start(struct client *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1;
    /* A source address has 28,000 ports: use one per 4,096 clients. */
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000001 + (uint32_t)((c - clients) >> 12));
    to.sin_addr.s_addr = htonl(0x7f000001);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) die("bind");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->deaf) { /* as over a network: with the segments of the loopback, the server's kernel takes megabytes */
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &(int){DEAF_BUFFER}, sizeof(int));
        setsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &(int){NETWORK_SEGMENT}, sizeof(int));
    }
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    c->state = CONNECTING;
    c->ready = 0, c->marks = 0, c->rest_len = 0, c->carry_len = 0, c->opened_ns = clock_ns();
    in_flight++;
    struct epoll_event e = {.events = EPOLLOUT | EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
}

static void handshake(struct client *c) {
    char request[6000];
    char since[256] = "";
    if (resuming && c->since[0])
        snprintf(since, sizeof since, "%csince=%s:%llu", strchr(c->path, '?') ? '&' : '?', c->since,
                 (unsigned long long)c->offset);
    int len = snprintf(request, sizeof request,
                       "GET %s%s HTTP/1.1\r\nHost: localhost:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                       c->path, since, port, compressed ? COMPRESSION : "", c->header, c->header[0] ? "\r\n" : "");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    c->state = HANDSHAKE;
    send_bytes(c, request, (size_t)len);
}

static void mark_ready(struct client *c) {
    if (!c->ready) c->ready = 1, ready_count++, in_flight--;
}

static void gone(struct client *c, int code) {
    if (c->state == CLOSED) return;
    if (c->stopped) cut_off++, cut_off_4008 += code == 4008;
    else if (c->state == OPEN) closed_count++;
    else refused_count++;
    if (!c->ready) in_flight--;
    close(c->fd);
    c->state = CLOSED;
}

/* What was received */

static char *scan_marks(struct client *c, char *p, char *end) {
    char *open;
    while (p < end && (open = memchr(p, '~', end - p))) {
        char *q = open + 1;
        uint64_t part[3] = {0, 0, 0};
        int n = 0;
        for (; q < end && *q != '~'; q++) {
            if (*q == ':') n++;
            else if (n < 3) part[n] = part[n] * 10 + (uint64_t)(*q - '0');
        }
        if (q == end) return open;
        p = q + 1;
        if (n != 2 || part[0] >= (uint64_t)topics) continue;
        uint32_t *last = &c->last[part[0]], number = (uint32_t)part[1];
        if (*last && number <= *last) repeats++;
        else if (*last && number != *last + 1) gaps += number - *last - 1;
        *last = number;
        c->marks++;
        if (c->deaf) continue;
        marks_count++;
        record(now_ns > part[2] ? now_ns - part[2] : 0);
    }
    return end;
}

static char *topic_to_resume(char *text) {
    char *topic = text;
    while ((topic = strstr(topic, "\"topic\":\""))) {
        if (!strncmp(topic + 9, resume_text, strlen(resume_text))) return topic;
        topic += 9;
    }
    return NULL;
}

static void note_position(struct client *c, char *text, char *end) {
    char *topic, *epoch, *offset;
    char kept = *end;
    *end = 0;
    if (!c->since[0] && (topic = topic_to_resume(text)) && (epoch = strstr(topic, "\"epoch\":\"")) &&
        (offset = strstr(epoch, "\"offset\":"))) {
        snprintf(c->since, sizeof c->since, "%.*s:%.*s", (int)strcspn(topic + 9, "\""), topic + 9,
                 (int)strcspn(epoch + 9, "\""), epoch + 9);
        c->offset = strtoull(offset + 9, NULL, 10);
    } else if (c->since[0]) {
        for (offset = text; (offset = strstr(offset, "\"offset\":")); offset += 9) {
            uint64_t here = strtoull(offset + 9, NULL, 10);
            if (here > c->offset) c->offset = here;
        }
    }
    *end = kept;
}

static int contains(const char *text, size_t len, const char *part) {
    return memmem(text, len, part, strlen(part)) != NULL;
}

static void message(struct client *c, char *text, size_t len) {
    char *end = text + len;
    if (protocol == SOCKETIO) {
        if (len && text[0] == '0') send_frame(c, 1, "40", 2);
        if (len && text[0] == '2') send_frame(c, 1, "3", 1);
        if (len > 1 && text[0] == '4' && text[1] == '0') {
            if (c->greeting) send_frame(c, 1, c->greeting, strlen(c->greeting));
            mark_ready(c);
        }
    } else if (protocol == NATS && !c->ready) {
        char line[4000];
        if (contains(text, len, "INFO ")) {
            int n = snprintf(line, sizeof line, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
            char *names = strdup(c->greeting ? c->greeting : "bench"), *name = strtok(names, ",");
            for (int sid = 1; name && n < 3900; name = strtok(NULL, ","), sid++)
                n += snprintf(line + n, sizeof line - n, "SUB %s %d\r\n", name, sid);
            n += snprintf(line + n, sizeof line - n, "PING\r\n");
            send_frame(c, 2, line, (size_t)n);
            free(names);
        }
        if (contains(text, len, "PONG")) mark_ready(c);
    } else if (protocol == NATS && len <= 6 && contains(text, len, "PING")) {
        send_frame(c, 2, "PONG\r\n", 6);
    } else if (protocol == WS && !c->ready && !wanted_marks && contains(text, len, ready_text)) {
        mark_ready(c);
    }
    if (track_offsets) note_position(c, text, end);
    if (c->carry_len) { /* the end of a mark that began in the frame before */
        char joined[192];
        size_t take = len < 96 ? len : 96;
        memcpy(joined, c->carry, c->carry_len);
        memcpy(joined + c->carry_len, text, take);
        char *close = memchr(joined + c->carry_len, '~', take);
        if (close) {
            scan_marks(c, joined, close + 1);
            text += close + 1 - joined - c->carry_len;
        }
        c->carry_len = 0;
    }
    char *left = scan_marks(c, text, end);
    if (protocol == NATS && left < end && end - left < 96) {
        c->carry_len = (size_t)(end - left);
        memcpy(c->carry, left, c->carry_len);
    }
    if (wanted_marks && c->marks >= wanted_marks) mark_ready(c);
}

/* A server that compresses once for all sends the same bytes to all: then this inflates them once for all. */
static char *inflated(const char *data, size_t len, size_t *size) {
    static struct { char *data, *text; size_t len, size; } known[INFLATED];
    uint64_t hash = len, word;
    for (size_t i = 0; i < 16 && (i + 1) * 8 <= len; i++) /* the start, where messages differ, is enough */
        memcpy(&word, data + i * 8, 8), hash = (hash ^ word) * 0x9E3779B97F4A7C15u, hash ^= hash >> 29;
    __typeof__(&known[0]) k = &known[hash % INFLATED];
    if (k->len != len || memcmp(k->data, data, len)) {
        z_stream z = {.avail_in = (uInt)len + 4};
        static char text[READ_BYTES * 4];
        k->data = realloc(k->data, len + 4);
        memcpy(k->data, data, len);
        memcpy(k->data + len, "\0\0\xff\xff", 4);
        z.next_in = (Bytef *)k->data, z.next_out = (Bytef *)text, z.avail_out = sizeof text;
        if (inflateInit2(&z, -15) != Z_OK) die("inflateInit2");
        int result = inflate(&z, Z_SYNC_FLUSH);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) die("a frame that cannot be inflated");
        k->len = len, k->size = z.total_out;
        k->text = realloc(k->text, k->size + 1);
        memcpy(k->text, text, k->size);
        inflateEnd(&z);
    }
    *size = k->size;
    return k->text;
}

/* Takes whole frames off the front; answers where it stopped. */
static char *take_frames(struct client *c, char *p, char *end) {
    while (end - p >= 2) {
        uint8_t *u = (uint8_t *)p;
        size_t head = 2, len = u[1] & 127;
        if (len == 126) {
            if (end - p < 4) break;
            len = (size_t)u[2] << 8 | u[3], head = 4;
        } else if (len == 127) {
            if (end - p < 10) break;
            len = 0, head = 10;
            for (int i = 2; i < 10; i++) len = len << 8 | u[i];
        }
        if ((size_t)(end - p) < head + len) break;
        int opcode = u[0] & 15;
        if (opcode == 9) send_frame(c, 10, p + head, len);
        else if (opcode == 8) {
            gone(c, len >= 2 ? (uint8_t)p[head] << 8 | (uint8_t)p[head + 1] : 1005);
            return end;
        } else if (opcode < 3) {
            size_t size = len;
            char *text = u[0] & 64 ? inflated(p + head, len, &size) : p + head;
            message(c, text, size);
        }
        p += head + len;
    }
    return p;
}

static void readable(struct client *c) {
    if (c->rest_len > FRAME_BYTES) errno = EMSGSIZE, die("a frame");
    memcpy(chunk, c->rest, c->rest_len);
    ssize_t got = recv(c->fd, chunk + c->rest_len, READ_BYTES, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) gone(c, 1006);
        return;
    }
    bytes_count += (uint64_t)got;
    now_ns = clock_ns();
    char *p = chunk, *end = chunk + c->rest_len + got;
    if (c->state == HANDSHAKE) {
        char *body = memmem(p, end - p, "\r\n\r\n", 4);
        if (body) {
            if (!contains(p, (size_t)(body - p), " 101 ")) { gone(c, 1006); return; }
            c->state = OPEN, p = body + 4;
            for (char *g = c->greeting; protocol == WS && g && !(resuming && c->since[0]); g = strchr(g, '\t') ? strchr(g, '\t') + 1 : NULL)
                send_frame(c, 1, g, strcspn(g, "\t"));
        }
    }
    if (c->state == OPEN) p = take_frames(c, p, end);
    if (c->state == CLOSED) return;
    size_t left = (size_t)(end - p);
    if (left > c->rest_len || !c->rest) c->rest = realloc(c->rest, left + 1);
    memcpy(c->rest, p, left);
    c->rest_len = left;
}

static void turn(int wait_ms) {
    struct epoll_event events[512];
    while (in_flight < MAX_IN_FLIGHT && next_to_connect < client_count) start(&clients[next_to_connect++]);
    int n = epoll_wait(poller, events, 512, wait_ms);
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (!c) command_waits = 1;
        else if (c->state == CONNECTING) {
            if (events[i].events & (EPOLLERR | EPOLLHUP)) gone(c, 1006);
            else handshake(c);
        } else if (c->state != CLOSED) readable(c);
    }
}

/* Commands */

static void clear_counters(void) {
    marks_count = bytes_count = gaps = repeats = max_ns = 0;
    memset(histogram, 0, sizeof histogram);
}

static void report(const char *event, uint64_t since_ns) {
    double seconds = (clock_ns() - since_ns) / 1e9;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"event\":\"%s\",\"seconds\":%.6f,\"clients\":%d,\"ready\":%d,\"refused\":%llu,\"closed\":%llu,"
           "\"cut_off\":%llu,\"cut_off_4008\":%llu,"
           "\"deliveries\":%llu,\"bytes\":%llu,\"gaps\":%llu,\"repeats\":%llu,\"cpu_seconds\":%.3f,"
           "\"latency_ms\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}}\n",
           event, seconds, client_count, ready_count, (unsigned long long)refused_count,
           (unsigned long long)closed_count, (unsigned long long)cut_off, (unsigned long long)cut_off_4008,
           (unsigned long long)marks_count, (unsigned long long)bytes_count,
           (unsigned long long)gaps, (unsigned long long)repeats,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
           percentile_ms(.5), percentile_ms(.9), percentile_ms(.99), percentile_ms(.999), max_ns / 1e6);
    fflush(stdout);
}

static void connect_all(const char *event, uint32_t marks) {
    uint64_t began = clock_ns();
    clear_counters();
    ready_count = next_to_connect = in_flight = 0, wanted_marks = marks;
    while ((in_flight || next_to_connect < client_count) && clock_ns() - began < 120000000000u) turn(100);
    report(event, began);
    wanted_marks = 0;
}

static void drop_all(void) {
    for (int i = 0; i < client_count; i++) {
        struct client *c = &clients[i];
        if (c->state == CLOSED || c->state == IDLE) continue;
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        close(c->fd);
        c->state = CLOSED;
    }
}

static void read_again(void) {
    for (int i = 0; i < client_count; i++)
        if (clients[i].stopped && clients[i].state != CLOSED) {
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
            if (epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &e)) die("epoll_ctl");
        }
    uint64_t quiet_since = clock_ns(), before;
    while (clock_ns() - quiet_since < 500000000u) {
        before = bytes_count + cut_off;
        turn(10);
        if (bytes_count + cut_off != before) quiet_since = clock_ns();
    }
}

static void obey(char *line) {
    uint64_t began = clock_ns();
    double seconds;
    int count;
    if (!strncmp(line, "connect", 7)) connect_all("connected", 0);
    else if (sscanf(line, "measure %lf", &seconds) == 1) {
        clear_counters();
        while (clock_ns() - began < (uint64_t)(seconds * 1e9)) turn(10);
        report("measured", began);
    } else if (!strncmp(line, "drop", 4)) drop_all(), report("dropped", began);
    else if (sscanf(line, "resume %d", &count) == 1) resuming = 1, connect_all("resumed", (uint32_t)count);
    else if (sscanf(line, "stop_reading %d", &count) == 1) {
        for (int i = 0; i < count && i < client_count; i++) {
            clients[i].stopped = 1;
            epoll_ctl(poller, EPOLL_CTL_DEL, clients[i].fd, NULL);
        }
        report("stopped_reading", began);
    } else if (!strncmp(line, "cut_off", 7)) read_again(), report("cut_off", began);
}

int main(int argc, char **argv) {
    if (argc < 4) die("usage: loadgen PORT PROTOCOL TARGETS [topics=N] [ready=TEXT] [compressed=1] [resume=TOPIC] [deaf=N]");
    port = atoi(argv[1]);
    protocol = !strcmp(argv[2], "nats") ? NATS : !strcmp(argv[2], "socketio") ? SOCKETIO : WS;
    for (int i = 4; i < argc; i++) {
        if (!strncmp(argv[i], "topics=", 7)) topics = atoi(argv[i] + 7);
        if (!strncmp(argv[i], "ready=", 6)) ready_text = argv[i] + 6;
        if (!strncmp(argv[i], "compressed=", 11)) compressed = atoi(argv[i] + 11);
        if (!strncmp(argv[i], "resume=", 7)) resume_text = argv[i] + 7, track_offsets = 1;
        if (!strncmp(argv[i], "deaf=", 5)) deaf_count = atoi(argv[i] + 5);
    }
    FILE *file = fopen(argv[3], "r");
    char *line = NULL;
    size_t size = 0;
    if (!file) die(argv[3]);
    while (getline(&line, &size, file) > 0) {
        clients = realloc(clients, (size_t)(client_count + 1) * sizeof *clients);
        struct client *c = &clients[client_count++];
        memset(c, 0, sizeof *c);
        line[strcspn(line, "\r\n")] = 0;
        char *tab = strchr(line, '\t'), *second = tab ? strchr(tab + 1, '\t') : NULL;
        if (second) *second = 0, c->greeting = strdup(second + 1);
        if (tab) *tab = 0;
        c->header = strdup(tab ? tab + 1 : "");
        c->deaf = client_count <= deaf_count;
        c->path = strdup(line);
        c->last = calloc((size_t)topics, sizeof *c->last);
    }
    fclose(file);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){65536, 65536});
    poller = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input);
    next_to_connect = client_count; /* until told to connect */
    for (;;) { /* reads on while nobody commands: unread sockets would look like slow clients */
        turn(100);
        if (!command_waits) continue;
        command_waits = 0;
        if (getline(&line, &size, stdin) <= 0) break;
        obey(line);
    }
    return 0;
}
