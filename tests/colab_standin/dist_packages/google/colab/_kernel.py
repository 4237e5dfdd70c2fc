"""Stand-in for tests, written from public behaviour: the kernel, whose failures in the page's requests stay silent."""

from ipykernel import ipkernel, jsonutil
from IPython.utils import tokenutil

from google.colab import _shell, _shell_customizations

_MOST_MATCHES = 100


class Kernel(ipkernel.IPythonKernel):
    """A kernel that answers completion and inspection in Colab's form."""

    def _shell_class_default(self):
        return _shell.Shell

    def do_inspect(self, code, cursor_pos, *_args, **_options):
        """Return the object's fields as application/json."""
        info = self.shell.object_inspect(tokenutil.token_at_cursor(code, cursor_pos))
        data = {"application/json": jsonutil.json_clean(_primitive(info))} if info["found"] else {}
        return {"status": "ok", "data": data, "metadata": {}, "found": info["found"]}

    async def inspect_request(self, stream, ident, parent):
        """Answer that nothing was found when inspection fails."""
        try:
            await super().inspect_request(stream, ident, parent)
        except BaseException:  # noqa: BLE001 -- the silence that tests look for
            self.session.send(stream, "inspect_reply", '{"status":"ok","found":false}', parent, ident)

    def complete_request(self, stream, ident, parent):
        """Answer with matches, described when the page asked for that; with nothing when it fails."""
        try:
            reply = jsonutil.json_clean(self._described_matches(parent))
        except BaseException as error:  # noqa: BLE001
            self.log.info("Error caught during completion: %s", error)
            reply = '{"status":"ok"}'
        self.session.send(stream, "complete_reply", reply, parent, ident)

    def _described_matches(self, parent):
        content = parent["content"]
        reply = self.do_complete(content["code"], content["cursor_pos"])
        if parent["metadata"].get("colab_options", {}).get("include_colab_metadata"):
            incomplete = len(reply["matches"]) > _MOST_MATCHES
            reply["matches"] = reply["matches"][:_MOST_MATCHES]
            described = _shell_customizations.compute_completion_metadata(self.shell, reply["matches"])
            reply["metadata"] = {"colab_types_experimental": described, "matches_incomplete": incomplete}
        return reply


def _primitive(value):
    if isinstance(value, dict):
        return {str(key): _primitive(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_primitive(item) for item in value]
    return value if isinstance(value, (str, int, float, type(None))) else str(value)
