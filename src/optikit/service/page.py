"""The interactive page of the API: Swagger UI from an installed package, nothing from elsewhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["FILES", "HTML", "POLICY", "SCRIPT", "assets"]

FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""What the page loads besides ``init.js``, with its media type."""
HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>OptiKIT's service</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/init.js"></script>
</body>
</html>
"""
SCRIPT = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The browser itself refuses what would come from another machine."""


def assets() -> Path | None:
    """Folder of Swagger UI's files; None where the package fastapi-offline is not installed."""
    found = importlib.util.find_spec("fastapi_offline")
    for place in (found.submodule_search_locations or ()) if found else ():
        folder = Path(place) / "static"
        if all((folder / name).is_file() for name in FILES):
            return folder
    return None
