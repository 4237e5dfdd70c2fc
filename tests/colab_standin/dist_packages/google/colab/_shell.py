"""Stand-in for tests, written from public behaviour: the shell, bound to IPython 7.34 as the real one is."""

from ipykernel import zmqshell
from IPython.core import interactiveshell, oinspect
from IPython.utils import PyColorize
from ipython_genutils import py3compat

from google.colab import _inspector


class Shell(zmqshell.ZMQInteractiveShell):
    """A shell that inspects objects by structured fields."""

    def init_inspector(self):
        """Build the inspector with the arguments that IPython 7 takes."""
        self.inspector = _inspector.ColabInspector(
            oinspect.InspectColors, PyColorize.ANSICodeColors, "NoColor", self.object_info_string_level
        )

    def object_inspect(self, oname, detail_level=0):
        """Return the fields of the object that a name stands for."""
        # A subscript: from IPython 8.13 on `_ofind` returns a dataclass, and inspection dies silently.
        if not self._ofind(oname)["found"]:
            return super().object_inspect(py3compat.cast_unicode(oname), detail_level=detail_level)
        info = self._object_find(oname)
        obj = info.pop("obj", None)
        info.pop("parent", None)
        return self.inspector.info(obj, oname, info=info, detail_level=detail_level)


interactiveshell.InteractiveShellABC.register(Shell)
