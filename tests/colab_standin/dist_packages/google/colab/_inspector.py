"""Stand-in for tests, written from public behaviour: structured facts about an object."""

from IPython.core import oinspect


class ColabInspector(oinspect.Inspector):
    """An inspector that answers with fields in place of formatted text."""

    def info(self, obj, oname="", info=None, detail_level=0):
        """Return the fields of one object, as IPython 7 names them."""
        fields = super().info(obj, oname=oname, info=info, detail_level=detail_level)
        if callable(obj):
            fields["argspec"] = _argspec(obj)
        return oinspect.object_info(**fields)


def _argspec(obj):
    try:
        return oinspect.getargspec(obj)._asdict()
    except TypeError:
        return None
