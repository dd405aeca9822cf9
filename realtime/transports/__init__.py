"""How frames reach a socket: `asgi` works with every server, `uvicorn` writes ready-made frames."""
