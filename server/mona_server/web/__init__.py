"""The pages: rendered here, their state in the address, charts drawn by Plotly from this same server.

``router`` holds all of them; :mod:`mona_server.api` serves it.
"""

from mona_server.web.routes import router

__all__ = ["router"]
