"""Which program brings a macro that autoconf does not know: its m4 file is not there."""

from __future__ import annotations

from colab_env.native_need.missing import Kind

# By the first letters of the macro, the longest first: the manuals of Automake, Libtool, gettext and pkg-config, "Macros".
_BRINGS: dict[str, tuple[Kind, str]] = {
    "AC_DISABLE_S": ("command", "libtoolize"),
    "AC_ENABLE_S": ("command", "libtoolize"),
    "AC_LIBTOOL": ("command", "libtoolize"),
    "AC_PROG_LIBTOOL": ("command", "libtoolize"),
    "AC_PROG_INTLTOOL": ("command", "intltoolize"),
    "AM_": ("command", "automake"),
    "AM_GLIB_GNU_GETTEXT": ("pkg-config", "glib-2.0"),
    "AM_GNU_GETTEXT": ("command", "gettextize"),
    "AM_ICONV": ("command", "gettextize"),
    "AM_NLS": ("command", "gettextize"),
    "AM_PO_SUBDIRS": ("command", "gettextize"),
    "AM_PROG_LIBTOOL": ("command", "libtoolize"),
    "AX_": ("words", "autoconf-archive"),
    "GLIB_": ("pkg-config", "glib-2.0"),
    "GOBJECT_INTROSPECTION_": ("command", "g-ir-scanner"),
    "GTK_DOC_CHECK": ("command", "gtkdocize"),
    "IT_PROG_INTLTOOL": ("command", "intltoolize"),
    "LTDL_": ("command", "libtoolize"),
    "LT_": ("command", "libtoolize"),
    "PKG_": ("command", "pkg-config"),
    "XORG_": ("words", "xutils-dev"),
}
_OF_A_LIBRARY = "AM_PATH_"  # AM_PATH_LIBGCRYPT, AM_PATH_SDL2; two are Automake's own
_AUTOMAKES = ("AM_PATH_PYTHON", "AM_PATH_LISPDIR")


def brings(macro: str) -> tuple[Kind, str] | None:
    """Return the kind and the name of what brings a macro; None where autoconf itself has it."""
    if macro.startswith(_OF_A_LIBRARY) and not macro.startswith(_AUTOMAKES):
        return "words", macro.removeprefix(_OF_A_LIBRARY).rstrip("_0123456789").lower()
    start = max((start for start in _BRINGS if macro.startswith(start)), key=len, default="")
    return _BRINGS.get(start)
