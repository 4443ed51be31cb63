"""The page's files: the document, its hashed assets, and a plain word when the page was not built.

What is not there is answered with 404, never with the document, so that a missing script is seen as missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from shoal.api.encoding import takes_gzip

STATIC: Final = Path(__file__).parent / "static"
_ASSETS: Final = "assets/"
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"
_NOT_BUILT: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Shoal</title>"
    "<h1>The page is not built</h1>"
    "<p>Shoal runs, and its <a href=docs>interface</a> answers under <code>/api</code>. "
    "To have the page too, run <code>python hatch_build.py build</code> in the source folder "
    "and load this address again, or install a released wheel, which carries the page.</p></html>"
)


class PageFiles(StaticFiles):
    """Serves the folder of the built page."""

    def __init__(self, folder: Path = STATIC) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._folder = folder

    @property
    def built(self) -> bool:
        """Whether the page's files are there."""
        return (self._folder / "index.html").is_file()

    def document(self, name: str = "index.html") -> Response:
        """Return the page, or what to do when it was not built."""
        if not (self._folder / name).is_file():
            return HTMLResponse(_NOT_BUILT, headers={"Cache-Control": "no-store"})
        return FileResponse(self._folder / name, headers={"Cache-Control": _ASK_AGAIN})

    async def check_config(self) -> None:
        """Take a folder that is not there for one without files: the page was not built."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return a file, as the build has packed it where the reader takes that; the suffix before `.gz` says its type."""
        packed, headers = Path(f"{os.fspath(full_path)}.gz"), Headers(scope=scope)
        if not takes_gzip(headers) or "range" in headers or not packed.is_file():
            return super().file_response(full_path, stat_result, scope, status_code)
        answer = super().file_response(packed, packed.stat(), scope, status_code)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers.add_vary_header("Accept-Encoding")
        return answer

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return one file.

        Raises:
            HTTPException: 404 when there is none; a hidden file is none.
        """
        if any(part.startswith(".") for part in Path(path).parts):
            raise HTTPException(404)
        answer = await super().get_response(path, scope)
        hashed = path.replace(os.sep, "/").startswith(_ASSETS)
        answer.headers["Cache-Control"] = _FOR_EVER if hashed else _ASK_AGAIN
        return answer
