"""Headlines from files."""

import logging
import os
from datetime import UTC, datetime

import pytest

from apps.trading import news
from apps.trading.news import NewsReader, UnreadableNews, plain_text, read_headlines

NOW = datetime(2026, 11, 25, 6, tzinfo=UTC)
TEN_MINUTES_AGO = NOW.timestamp() - 600
RSS = """<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>Acme &amp; Co News</title>
<item><title>Acme &lt;b&gt;beats&lt;/b&gt; estimates &amp;amp; rises - Reuters</title><link>https://news.example/1</link>
<pubDate>Wed, 25 Nov 2026 09:30:00 +0530</pubDate><source url="https://r.example">Reuters</source></item>
<item><title>No time</title><link>javascript:alert(1)</link></item>
<item><title>Ahead</title><pubDate>Wed, 25 Nov 2026 23:30:00 GMT</pubDate></item>
<item><title></title></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Wire</title><entry>
<title type="html">Gains &amp;amp; losses</title><updated>2026-11-25T04:00:00Z</updated><link href="https://news.example/2"/></entry></feed>"""


def write(path, text, changed_at=TEN_MINUTES_AGO):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (changed_at, changed_at))
    return path


def test_rss(tmp_path):
    undated = datetime(2026, 11, 25, 5, tzinfo=UTC)
    result = read_headlines(write(tmp_path / "a.xml", RSS), undated, NOW)
    first, without_time, ahead = result.headlines
    assert (first.title, first.source, first.url) == (
        "Acme beats estimates & rises - Reuters",
        "Reuters",
        "https://news.example/1",
    )
    assert first.published_at == datetime(2026, 11, 25, 4, tzinfo=UTC)
    assert (without_time.published_at, without_time.url, without_time.source) == (undated, "", "Acme & Co News")
    assert ahead.published_at == NOW
    assert result.problems == ["a.xml, entry 4: the title '' has no word in it"]


def test_atom(tmp_path):
    (headline,) = read_headlines(write(tmp_path / "a.atom", ATOM), NOW, NOW).headlines
    assert (headline.title, headline.source, headline.published_at.hour) == ("Gains & losses", "Wire", 4)


def test_csv(tmp_path):
    rows = [
        "published_at,title,source,url,symbols",
        '2026-11-25T09:30:00+05:30,"Acme, up",Mint,https://news.example/3,INFY; TCS',
        "2026-11-25T09:30:00,Naive,,,",
        "yesterday,Vague,,,",
        "2026-11-25T04:00:00Z,Short",
    ]
    result = read_headlines(write(tmp_path / "a.csv", "\ufeff" + "\r\n".join(rows)), NOW, NOW)
    assert [(h.title, h.source, h.symbols) for h in result.headlines] == [
        ("Acme, up", "Mint", ("INFY", "TCS")),
        ("Short", "", ()),
    ]
    assert [problem.split(":")[0] for problem in result.problems] == ["a.csv, line 3", "a.csv, line 4"]
    assert "needs a time zone" in result.problems[0]


def test_json_lines(tmp_path):
    rows = [
        '{"title": "Acme up", "published_at": "2026-11-25T04:00:00Z", "symbols": ["INFY"]}',
        "",
        '{"title": "Bad", "published_at": 7}',
        "[1]",
        '{"title": "Script", "published_at": "2026-11-25T04:00:00Z", "url": "javascript:x"}',
        '{"title": "half wri',
    ]
    result = read_headlines(write(tmp_path / "a.jsonl", "\n".join(rows)), NOW, NOW)
    assert [(h.title, h.symbols) for h in result.headlines] == [("Acme up", ("INFY",))]
    assert [problem.split(":")[0] for problem in result.problems] == [f"a.jsonl, line {n}" for n in (3, 4, 5)]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.xml", RSS[:300], "a.xml: not well-formed"),
        ("a.xml", "hello", "a.xml: not well-formed"),
        ("a.xml", "", "a.xml: neither RSS nor Atom"),
        ("a.xml", "<html><body>No feed</body></html>", "neither RSS nor Atom"),
        ("a.xml", "http://localhost:1/feed", "a.xml: not well-formed"),
        ("a.xml", '<!DOCTYPE x [<!ENTITY a "aa">]>' + ATOM, "declares entities"),
        ("a.xml", ('<!DOCTYPE x [<!ENTITY a "aa">]>' + ATOM).encode("utf-16"), "declares entities"),
        ("a.csv", "title\nAcme", "a.csv: the header lacks published_at"),
        ("a.csv", "", "lacks published_at, title"),
        ("a.csv", b"title,published_at\n\xff", "a.csv: not UTF-8 at byte 19"),
        ("a.csv", "title,published_at\n" + "x" * 200_000, "field larger"),
        ("a.pdf", "x", "a.pdf: not one of .xml"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, name, text, problem):
    with pytest.raises(UnreadableNews, match=problem):
        read_headlines(write(tmp_path / name, text), NOW, NOW)


def test_what_is_too_large_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.xml", RSS)
    monkeypatch.setattr(news, "MAX_ENTRIES", 2)
    with pytest.raises(UnreadableNews, match="more than 2 entries"):
        read_headlines(path, NOW, NOW)
    monkeypatch.setattr(news, "MAX_BYTES", 100)
    with pytest.raises(UnreadableNews, match="larger than"):
        read_headlines(path, NOW, NOW)


def test_only_what_changed_is_read_again(tmp_path, monkeypatch):
    read = []
    real = news.read_headlines
    monkeypatch.setattr(news, "read_headlines", lambda path, *times: read.append(path.name) or real(path, *times))
    write(tmp_path / "a.xml", RSS)
    write(tmp_path / "b.atom", ATOM)
    write(tmp_path / "readme.txt", "no news")
    (tmp_path / "c.xml").mkdir()
    files = NewsReader(tmp_path, lambda: NOW)
    first = files.read()
    assert len(first) == 4
    assert first[1].published_at == datetime(2026, 11, 25, 5, 50, tzinfo=UTC)  # when the file changed
    assert files.read() == []
    write(tmp_path / "b.atom", ATOM.replace("Gains", "Big gains"))
    assert [h.title for h in files.read()] == ["Big gains & losses"]
    assert read == ["a.xml", "b.atom", "b.atom"]


def test_a_broken_file_does_not_hold_up_the_others_and_is_said_once(tmp_path, caplog):
    write(tmp_path / "a.xml", "hello")
    write(tmp_path / "b.atom", ATOM)
    files = NewsReader(tmp_path, lambda: NOW)
    with caplog.at_level(logging.WARNING):
        assert len(files.read()) == len(files.problems) == 1
        assert files.read() == files.problems == []
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["news: a.xml: not well-formed"]
    write(tmp_path / "a.xml", ATOM, NOW.timestamp())
    assert len(files.read()) == 1


def test_one_file_that_is_not_there_yet(tmp_path, caplog):
    files = NewsReader(tmp_path / "a.jsonl")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert files.read() == []
            assert "No such file" in files.problems[0]
    assert len(caplog.records) == 1
    write(tmp_path / "a.jsonl", '{"title": "Acme", "published_at": "2026-11-25T04:00:00Z"}')
    assert len(files.read()) == 1


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>A</p><p>B</p>", "A B"),
        ("P&L &lt; 5% &amp; <i>rising</i>", "P&L < 5% & rising"),
        ("A<script>alert(1)</script> B<style>x", "A B"),
        ("profit <5%", "profit <5%"),
    ],
)
def test_plain_text(html, text):
    assert plain_text(html) == text


def test_what_is_cut_off_stays_bounded():
    assert len(plain_text("<a href='" + "x" * 100_000)) <= news.MAX_HTML
