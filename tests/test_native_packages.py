"""From a missing thing to the Debian or Ubuntu package, by apt's own lists; the lists here are cut from real ones."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_env.errors import DamagedError
from colab_env.native_need import apt
from colab_env.native_need.contents import Contents, Packages, packed
from colab_env.native_need.extract import extract
from colab_env.native_need.lookup import needs
from colab_env.native_need.missing import Missing
from colab_env.native_need.packed_index import Index
from colab_env.native_need.ranking import packages_for, python_header

LISTS = Path(__file__).parent / "native"


def in_chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 10_007):  # lines are cut at odd places
        yield content[start : start + 10_007]


def make_index(lists: Path, target: Path) -> Index:
    contents, packages = Contents(), Packages()
    for path in sorted(lists.glob("*Contents*")):
        contents.read(in_chunks(path.read_bytes()))
    packages.read(in_chunks(gzip.decompress((lists / "Packages.gz").read_bytes())))
    target.write_bytes(packed(contents, packages, {"release": lists.name}))
    return Index(target)


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(LISTS / "debian-12", tmp_path_factory.mktemp("lists") / "debian.index")


@pytest.fixture(scope="module")
def ubuntu(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(LISTS / "ubuntu-24.04", tmp_path_factory.mktemp("lists") / "ubuntu.index")


# kind, name, package in Debian 12, package in Ubuntu 24.04 where that is another one
BUILD = [
    ("config-program", "gdal-config", "libgdal-dev", ""),
    ("config-program", "pg_config", "libpq-dev", ""),
    ("config-program", "curl-config", "libcurl4-openssl-dev", ""),
    ("command", "pkg-config", "pkgconf", ""),
    ("command", "gcc", "build-essential", ""),
    ("command", "mpicc", "openmpi-bin", ""),
    ("command", "javac", "default-jdk-headless", ""),
    ("compiler", "rust", "cargo", ""),
    ("header", "graphviz/cgraph.h", "libgraphviz-dev", ""),
    ("header", "lber.h", "libldap-dev", ""),
    ("header", "zlib.h", "zlib1g-dev", ""),
    ("header", "jpeglib.h", "libjpeg62-turbo-dev", "libjpeg-turbo8-dev"),
    ("header", "openssl/x509_vfy.h", "libssl-dev", ""),
    ("header", "mpi.h", "libopenmpi-dev", ""),
    ("header", "jni.h", "default-jdk-headless", ""),
    ("header", "Eigen/Dense", "libeigen3-dev", ""),
    ("pkg-config", "mysqlclient", "libmariadb-dev-compat", "libmysqlclient-dev"),
    ("pkg-config", "cairo >= 1.15", "libcairo2-dev", ""),
    ("pkg-config", "gobject-introspection-1.0", "libgirepository1.0-dev", "gobject-introspection"),
    ("library", "crypto", "libssl-dev", ""),
    ("shared-object", "libhdf5.so", "libhdf5-dev", ""),
    ("cmake", "Eigen3", "libeigen3-dev", ""),
    ("cmake", "ZLIB", "zlib1g-dev", ""),
    ("cmake", "PkgConfig", "pkgconf", ""),
    ("words", "libcap development headers", "libcap-dev", ""),
]
RUN = [
    ("shared-object", "sndfile", "libsndfile1", ""),
    ("shared-object", "libGL.so.1", "libgl1", ""),
    ("shared-object", "libgthread-2.0.so.0", "libglib2.0-0", "libglib2.0-0t64"),
    ("shared-object", "gobject-2.0-0", "libglib2.0-0", "libglib2.0-0t64"),
    ("shared-object", "libhidapi-hidraw.so", "libhidapi-hidraw0", ""),
    ("shared-object", "SDL2", "libsdl2-2.0-0", ""),
    ("shared-object", "libjvm.so", "default-jre-headless", ""),
    ("command", "java", "default-jre-headless", ""),
    ("command", "convert", "imagemagick", ""),
    ("command", "tesseract", "tesseract-ocr", ""),
    ("command", "R", "r-base-core", ""),
    ("typelib", "Gtk-3.0", "gir1.2-gtk-3.0", ""),
]


@pytest.mark.parametrize(("kind", "name", "package", "_ubuntu"), BUILD)
def test_a_build_needs_the_package_with_the_headers(debian, kind, name, package, _ubuntu):
    assert packages_for(Missing(kind=kind, name=name), debian).package == package


@pytest.mark.parametrize(("kind", "name", "package", "_ubuntu"), RUN)
def test_a_run_needs_the_library_alone(debian, kind, name, package, _ubuntu):
    assert packages_for(Missing(kind=kind, name=name, phase="run"), debian).package == package


@pytest.mark.parametrize(("kind", "name", "package", "other"), BUILD + RUN)
def test_ubuntu_has_one_list_for_all_its_components(ubuntu, kind, name, package, other):
    phase = "run" if (kind, name, package, other) in RUN else "build"
    assert packages_for(Missing(kind=kind, name=name, phase=phase), ubuntu).package == (other or package)


def test_what_is_installed_is_not_the_answer(debian):
    missing = Missing(kind="header", name="zlib.h")
    answer = packages_for(missing, debian, installed={"zlib1g-dev"})
    assert answer.package is None
    assert answer.note == "zlib1g-dev has it, and is installed: the cause is another one"


def test_a_choice_is_shown_and_the_library_that_is_there_decides(debian):
    missing = Missing(kind="config-program", name="curl-config")
    answer = packages_for(missing, debian, installed={"libcurl3-gnutls"})
    assert answer.is_choice
    assert [each.package for each in answer.candidates[:3]] == [
        "libcurl4-gnutls-dev",
        "libcurl4-openssl-dev",
        "libcurl4-nss-dev",
    ]
    assert "libcurl3-gnutls is installed" in str(answer.note)


def test_a_project_may_name_the_package_itself(debian):
    missing = Missing(kind="header", name="ours.h")
    assert packages_for(missing, debian, own={"ours.h": "libours-dev"}).package == "libours-dev"


@pytest.mark.parametrize("name", ["libcuda.so.1", "libnvidia-ml.so.1"])
def test_a_driver_is_never_apts(debian, name):
    answer = packages_for(Missing(kind="shared-object", name=name, phase="run"), debian)
    assert answer.candidates == ()
    assert "driver" in str(answer.note)


@pytest.mark.parametrize(
    ("python", "package"), [("/usr/bin/python3.11", "python3.11-dev"), ("/opt/uv/python3.12", None)]
)
def test_only_the_distributions_python_has_its_headers_in_a_package(python, package):
    answer = python_header(Missing(kind="header", name="Python.h"), python)
    assert answer.package == package


@pytest.mark.parametrize("name", ["no-such.h", "", "..", "/", "a" * 5000, "x;rm -rf ~", "tab\tname", "ünïcode.h"])
@pytest.mark.parametrize(
    "kind", ["header", "command", "library", "pkg-config", "cmake", "typelib", "words", "compiler"]
)
def test_a_name_that_no_file_has_is_answered_by_nothing(debian, kind, name):
    for phase in ("build", "run"):
        assert packages_for(Missing(kind=kind, name=name, phase=phase), debian).candidates == ()


def test_a_cut_or_changed_index_is_told_from_a_whole_one(debian, tmp_path):
    content = debian.path.read_bytes()
    for damaged in (b"", content[:7], content[:1000], content[:-1], b"x" + content[1:], content + b"more"):
        path = tmp_path / "damaged.index"
        path.write_bytes(damaged)
        with pytest.raises(DamagedError, match="not a whole index"):
            Index(path)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedError):
        list(Index(path).package_names(""))


def test_lists_of_strange_lines_make_an_index_all_the_same(tmp_path):
    contents, packages = Contents(), Packages()
    contents.read([b"usr/include/a b.h  libdevel/liba-dev\nusr/include/\nusr/bin/x\n\xff\xfe\nusr/lib/libq.so.1 \n"])
    packages.read([b"Package: liba-dev\nDepends: liba-dev, liba1 (= 1) | x\n\nPackage:\nDepends: ,,\n"])
    path = tmp_path / "strange.index"
    path.write_bytes(packed(contents, packages, {}))
    assert packages_for(Missing(kind="header", name="a b.h"), Index(path)).package == "liba-dev"


# Lines of Debian 12's Contents and Packages, as they are there.
OWN_CONTENTS = b"""\
usr/include/libxml2/libxml/parser.h  libdevel/libxml2-dev
usr/include/liblognorm/parser.h  libdevel/liblognorm-dev
usr/include/dolfin/common/utils.h  libdevel/libdolfin-dev-common
usr/include/pcl-1.13/pcl/common/utils.h  libdevel/libpcl-dev
usr/include/stxxl/bits/common/utils.h  libdevel/libstxxl-dev
usr/include/node/src/util.h  libdevel/libnode-dev
usr/include/ruby-3.1.0/ruby/config.h  libdevel/ruby3.1-dev
usr/lib/compiz/libpng.so  x11/compiz-plugins
usr/include/mariadb/mysql.h  libdevel/libmariadb-dev
usr/include/OpenImageIO/argparse.h  libdevel/libopenimageio-dev
usr/bin/celery  python/celery
usr/bin/black  python/black
usr/bin/pytest  python/python3-pytest
usr/bin/add-apt-repository  admin/software-properties-common
usr/bin/inkscape  graphics/inkscape
"""
OWN_PACKAGES = b"""\
Package: celery
Source: celery
Depends: python3-celery, python3:any

Package: python3-celery
Source: celery
Depends: python3:any

Package: black
Depends: python3-click (>= 8.0.0), python3:any

Package: software-properties-common
Depends: python3:any, python3-software-properties (= 0.99.30)

Package: inkscape
Depends: python3:any, libc6 (>= 2.34)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Index:
    contents, packages = Contents(), Packages()
    contents.read([OWN_CONTENTS])
    packages.read([OWN_PACKAGES])
    path = tmp_path_factory.mktemp("small") / "small.index"
    path.write_bytes(packed(contents, packages, {}))
    return Index(path)


@pytest.mark.parametrize("name", ["mylib/parser.h", "../vendor/utils.h", "common/utils.h", "src/util.h", "config.h"])
def test_a_header_in_another_directory_is_another_header(small, name):
    assert packages_for(Missing(kind="header", name=name), small).candidates == ()


def test_a_plugin_with_the_name_of_a_library_is_none(small):
    assert packages_for(Missing(kind="shared-object", name="libpng.so", phase="run"), small).candidates == ()


def test_a_build_leaves_the_programs_of_python_packages_to_the_project(small):
    answer = packages_for(Missing(kind="command", name="pytest"), small)
    assert answer.candidates == ()
    assert "dependencies" in str(answer.note)


def test_a_header_whose_package_is_installed_is_not_looked_for_elsewhere(small):
    missing = Missing(kind="header", name="libxml/parser.h")
    assert packages_for(missing, small).package == "libxml2-dev"
    answer = packages_for(missing, small, installed={"libxml2-dev"})
    assert answer.candidates == ()
    assert answer.note == "libxml2-dev has it, and is installed: the cause is another one"


@pytest.mark.parametrize(
    ("name", "package"), [("mysql/mysql.h", "libmariadb-dev"), ("libxml/libxml/parser.h", "libxml2-dev")]
)
def test_a_directory_may_be_a_link_or_of_another_version(small, name, package):
    assert packages_for(Missing(kind="header", name=name), small).package == package


@pytest.mark.parametrize("kind", ["pkg-config", "cmake"])
def test_a_module_is_not_a_header_of_that_name_in_another_library(small, kind):
    assert packages_for(Missing(kind=kind, name="argparse"), small).candidates == ()


@pytest.mark.parametrize("name", ["celery", "black", "pytest"])
def test_a_program_of_a_python_package_is_the_projects_own(small, name):
    answer = packages_for(Missing(kind="command", name=name, phase="run"), small)
    assert answer.candidates == ()
    assert "put that into the project's dependencies" in str(answer.note)


@pytest.mark.parametrize(
    ("name", "package"), [("add-apt-repository", "software-properties-common"), ("inkscape", "inkscape")]
)
def test_a_program_that_only_runs_python_is_the_distributions(small, name, package):
    assert packages_for(Missing(kind="command", name=name, phase="run"), small).package == package


def test_what_apt_says_of_sizes_is_read_or_left_out():
    said = "After this operation, {} of additional disk space will be used."
    sizes = ("1,234.5 kB", "12 MB", "1.2.3 MB", ", MB", "9" * 400 + " B")
    assert [apt._disk(said.format(size)) for size in sizes] == [1_234_500, 12_000_000, 0, 0, 0]


PERL = b"""\
usr/lib/x86_64-linux-gnu/perl/5.36.0/Digest/SHA.pm          perl/libperl5.36
usr/share/perl/5.36.0/Pod/Usage.pm                          perl/perl-modules-5.36
usr/share/perl5/LWP/UserAgent.pm                            perl/libwww-perl
usr/share/perl5/LWP/Authen/Wsse.pm                          perl/liblwp-authen-wsse-perl
usr/share/perl5/HTTP/Request.pm                             perl/libhttp-message-perl
usr/share/perl5/XML/Parser.pm                               perl/libxml-parser-perl
usr/share/doc/a/readme                                      doc/a
"""
PERLS = b"""\
Package: libxml-parser-perl

Package: libtext-charwidth-perl

Package: libwww-perl

Package: liblwp-authen-wsse-perl

Package: libhttp-message-perl

Package: perl
"""


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("Digest/SHA.pm", "perl"),
        ("Pod::Usage", "perl"),
        ("XML/Parser/Expat.pm", "libxml-parser-perl"),
        ("Text/CharWidth.pm", "libtext-charwidth-perl"),
        ("LWP/UserAgent.pm", "libwww-perl"),  # which is called otherwise
        ("LWP/Authen/Wsse.pm", "liblwp-authen-wsse-perl"),
        ("HTTP/Request/Common.pm", "libhttp-message-perl"),
        ("SHA.pm", None),
        ("Own/Text/CharWidth.pm", None),
    ],
)
@pytest.mark.parametrize("phase", ["build", "run"])
def test_a_perl_module_is_in_the_package_of_its_name_or_in_perls_own_library(tmp_path, name, package, phase):
    contents, packages = Contents(), Packages()
    contents.read([PERL])
    packages.read([PERLS])
    (tmp_path / "perl.index").write_bytes(packed(contents, packages, {}))
    missing = Missing(kind="perl-module", name=name, phase=phase)
    assert packages_for(missing, Index(tmp_path / "perl.index")).package == package


@pytest.mark.parametrize(("name", "package"), [("pip", "python3-pip"), ("distutils", "python3-distutils")])
def test_a_part_of_pythons_library_is_in_a_package_of_its_own(debian, name, package):
    assert packages_for(Missing(kind="python-library", name=name, phase="run"), debian).package == package


LINKS = b"""\
usr/lib/x86_64-linux-gnu/libgmt.so           libdevel/libgmt-dev
usr/lib/x86_64-linux-gnu/libgmt.so.6         libs/libgmt6
usr/include/archive.h                        libdevel/libarchive-dev
usr/include/version.h                        libdevel/libcodcif-dev
"""


@pytest.fixture
def links(tmp_path: Path) -> Index:
    contents, packages = Contents(), Packages()
    contents.read([LINKS])
    packages.read([b"Package: libgmt-dev\nDepends: libgmt6\n\nPackage: libgmt6\n\nPackage: libarchive-dev\n"])
    (tmp_path / "links.index").write_bytes(packed(contents, packages, {}))
    return Index(tmp_path / "links.index")


def test_a_run_that_finds_no_link_to_an_installed_library_needs_the_package_with_the_link(links):
    missing = Missing(kind="shared-object", name="libgmt.so", phase="run")
    assert [each.package for each in packages_for(missing, links).candidates] == ["libgmt6", "libgmt-dev"]
    assert packages_for(missing, links, installed={"libgmt6"}).package == "libgmt-dev"
    versioned = Missing(kind="shared-object", name="libgmt.so.6", phase="run")
    assert packages_for(versioned, links, installed={"libgmt6"}).package is None


@pytest.mark.parametrize(("name", "package"), [("archive.h", "libarchive-dev"), ("version.h", None)])
def test_a_header_with_a_common_name_is_that_of_the_library_that_is_called_so(links, name, package):
    assert packages_for(Missing(kind="header", name=name), links).package == package


MAGICK = b"""\
usr/bin/convert-im6.q16              graphics/imagemagick-6.q16
usr/lib/libMagickWand-6.Q16.so.6     libs/libmagickwand-6.q16-6
"""
MAGICKS = b"""\
Package: imagemagick
Depends: imagemagick-6.q16

Package: imagemagick-6.q16
Source: imagemagick
Depends: libmagickwand-6.q16-6

Package: libmagickwand-6.q16-6
Source: imagemagick
"""


def test_a_product_is_the_package_that_is_called_so_though_another_holds_its_programs(tmp_path):
    contents, packages = Contents(), Packages()
    contents.read([MAGICK])
    packages.read([MAGICKS])
    (tmp_path / "magick.index").write_bytes(packed(contents, packages, {}))
    index = Index(tmp_path / "magick.index")
    (missing,) = needs(extract("colors: ImageMagick wasn't found on your system."), index)
    assert packages_for(missing, index).package == "imagemagick"
