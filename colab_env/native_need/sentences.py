# ruff: noqa: E501  patterns are longer than lines
"""What a sentence in free words calls absent: "X is not installed", "could not find the X library", "Is X installed?".

Packages write such sentences themselves, each in its own words, and hardly two are alike. So none of them is a pattern
here: a phrase of absence is looked for, and the name is the nearest word that is not one of those messages are made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Literal, NamedTuple

from colab_env.native_need.line_kinds import without_speaker

Noun = Literal["library", "program", "header", "other", ""]

# "Do not run Bundler as root" forbids, it does not miss anything.
_NOT = (
    r"(?:(?:could|can|did|does|was|were|is|are)(?: ?not|n'?t|'?t)(?: (?:able|possible) to)?|unable to|failed to|failed)"
)
_SEARCH = (
    r"(?:find|locate|load|open|detect|determine|discover|execute|run|start|launch|invoke|call|access|initiali[sz]e|link|use"
    r"|identify)(?:ing)?(?! (?:which|how|if|whether|what)\b)"
)
_STATE = (
    r"(?:found|installed|available|present|located|resolved|determined|detected|loaded|executed|executable|started|run"
    r"|accessible|usable|working|at(?= the (?:specified|given|expected|configured) (?:path|location))|(?:on|in)(?= (?:\S+ ){0,2}\$?path\b))"
)
_AUXILIARY = r"(?:could|can|was|were|is|are|has|have|does|do|did)"
# What is stated, the name after it and before it; then what is only advised.
_BEFORE_NAME = (
    rf"{_NOT} (?:\w+ly )?{_SEARCH}|(?:error|problem)s? (?:while )?(?:loading|opening|locating|finding)"
    rf"|(?:{_AUXILIARY}(?: ?not|n'?t|'t)|not) (?:be |been )?found(?: for|:)"
    r"|no such(?= (?:program|command|executable|binary|utility|library)(?!\w))"
    r"|(?:do|does|did)(?: not|n't) (?:appear to |seem to )?have(?= .{1,60} installed(?!\w))"
    r"|neither(?= .{1,120} (?:installed(?!\w)|on .{0,20}path(?!\w)))"
)
_AFTER_NAME = (
    rf"(?:{_AUXILIARY}(?: ?not|n'?t|'t)|not)(?: yet| been| be| seem to be| appear to be| exist)*(?: {_STATE})"
    r"|(?:does not|doesn't) exist"
    r"|(?:is|are|was|were|be) (?:missing|required|needed|unavailable|absent)|unavailable"
    rf"|(?:seems?|appears?) (?:not to be|to be not|to be) (?:missing|{_STATE})|missing(?= from\b|[.!]?$)"
)
_ADVICE_BEFORE_NAME = (
    r"missing|lacks?|requires?|needs?(?= (?!to|be))|depends? on|(?:make sure|ensure|verify)(?: that)?"
    r"|(?:please|must|(?:need|needs|have|has|try) to|should|first|and|apt|apt-get) (?:-y )?(?:re)?install(?:ing)?|^install"
    r"|(?:have|did) you install(?:ed)?"
    r"|(?<![\w-])is(?= [\w +/.-]{2,40} installed)"
    r"|(?<![\w-])no(?= [\w +/.-]{2,40} (?:was |were |could be )?(?:found|available|installed|detected))"
)
_ADVICE_AFTER_NAME = rf"(?:must|needs? to|has to|have to|should) be {_STATE}"
_PHRASE = re.compile(
    rf"(?<![\w./-])(?:(?P<strong_after>{_BEFORE_NAME})|(?P<strong_before>{_AFTER_NAME})|(?P<before>{_ADVICE_AFTER_NAME})"
    rf"|(?P<after>{_ADVICE_BEFORE_NAME}))(?![\w/-]|\.\w)",
    re.IGNORECASE,
)
_ON_PATH = re.compile(r"(?<![\w-])[io]n (?:\w+ )?(?:system )?\$?path(?![\w-])", re.IGNORECASE)
_CONDITION = re.compile(r"\s*if .{1,60} (?:is|are) (?:already )?installed,", re.IGNORECASE)  # and what to check then
# "It can ask for sudo if it is needed"
_WHERE_NEEDED = re.compile(
    r"(?<!\w)(?:if|as|where|when)(?: it is| it's| they are)? (?:needed|necessary|required|missing)(?!\w)", re.IGNORECASE
)
# What another package manager brings is none of the distribution's: "install it with `gem install x`".
_OTHER_MANAGER = re.compile(
    r"(?<![\w-])(?:gem|bundle|npm|npx|yarn|pnpm|pip3?|pipx|conda|mamba|cargo|rustup|go|composer|opam|cabal|stack|luarocks|R CMD|dotnet|mix)"
    r" (?:\w+ )?(?:install|add|get|restore|update|require)(?!\w)"
)
_NONE_THERE = re.compile(
    r"(?<!\w)found:? (?:None|none|no|nothing)(?!\w)"
)  # "You need gfortran 6 or higher (found: None)"
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\s[|]\s|\s--\s")
_ADDRESS = re.compile(r"(?<![a-z])[a-z]+://\S+")
_TOKEN = re.compile(r"[A-Za-z_/](?:[\w+./-]|'(?=[a-z]{1,2}\b))*|\d[\w.]*|[<>=~!]=|[^\w\s]")
_FILE = re.compile(r"\.(?:h|hpp|pc|so(?:\.[\d.]+)?)$|[-_]config$")
_EXCEPTION = re.compile(r"[\w.]*(?:Error|Exception|Exit|NotFound|NotInstalled|Failure|Warning)\w*")
_SAYING_EXCEPTION = re.compile(r"(?:\w{1,60}\.){0,9}([A-Z]\w{1,60}Not(?:Found|Installed))(?:Error|Exception)?(?::|$)")
_DENIAL = re.compile(
    r"(?<![\w-])(?:not|no|none|cannot|unable|without|missing|absent|unavailable|fail(?:s|ed|ure)?|lacks?|requires?|required|needs?|needed|127)(?![\w-])|\w(?:n'|n\u2019)t\b",
    re.IGNORECASE,
)
# NoBackendError, TmuxCommandNotFound, RuntimeUnavailableError
_SAYING_CLASS = re.compile(
    r"(?:\w{1,60}\.){0,9}\w{0,60}(?:Not(?:Found|Installed|Available)|Missing|Unavailable|No[A-Z])"
)
_CAPITAL = re.compile(r" ([A-Z][\w+.-]*)")
_OPENED = re.compile(r"(?:^|[^\w'\"`])['\"`]$")
_JOINING = frozenset({"and", "or", "nor", ",", "(", ")"})
_ENDING = frozenset({";", "?", "!", "=", "found"})
_OTHER_FILE = re.compile(r"/|\.(?!so$|hp?p?$|pc$|js$)[a-z][a-z0-9]{1,4}$")  # of data, of a host
_MOST = 4  # phrases of a sentence
_AROUND = 120  # characters before or after one
_REACH = 7  # words between a phrase and the name
_LONGEST_NAME = 3  # words: "Oracle Berkeley DB"
_OF_NOUNS: dict[Noun, str] = {
    "library": "library libraries lib libs dll dlls shared",
    "program": "program programs executable executables binary binaries command commands tool utility script exe",
    "header": "header headers development devel include includes",
    # Of a repository, an index or a language: no file of the system.
    "other": "branch tag revision commit version versions distribution interpreter module modules attribute column key name"
    " names symbol class method argument option user table view run server container profile role fixture collection template"
    " model dataset configuration database message rule resource element record field job task topic node value index zone"
    " callable driver drivers plugin plugins handler handlers submodule submodules toolchain lockfile gem gems setting settings",
}
_NOUNS: dict[str, Noun] = {word: noun for noun, words in _OF_NOUNS.items() for word in words.split()}
# What messages are made of; the index of the distribution has programs and packages by some of these names, too.
_WORDS_TEXT = """
a able about acceptable access accessible add additional after again all already also although an and another any anything
application appropriate apt apt-get archive are aren't argument arguments as ask at attribute automatically available backend
backends base based be because been before below both branch brew browser build builder building built bundled but by c call
called can can't cannot case cause change check class cli client clone code column com command common compatible compilation
compile compiler compilers component conda conf config configuration configure configured confirm connection contact content
context copy correct correctly could couldn't cpu credentials critical current currently custom cython data database debian
default define defined defs dependencies dependency dev device devices did didn't different directories directory display
distribution distro dnf do docker docs documentation does doesn't don't done download driver drivers due during e.g each
either element else empty enable enabled end engine ensure entry env environment errno error errors etc even exception exist
existing exists exit expected export extension extensions external extra failed fatal feature features fedora field file
filename files find first fix folder follow following font fonts for format found framework from full function functionality
generate get github given global globals gnu go gpu group guide has hasn't have having he help helper helpers here hint home
homebrew host how http https i i.e id if image images implementation import important imports in index info information init
initialize input inside install installation installations installed installing instance instead instructions interface
internet interpreter into is isn't issue it item its itself job just kernel key known language languages later latest least
libs like line link linux list load local locate location locations lock log look machine macos main make manager mandatory
manually many match matching may me memory menu method minimum missing mode model modified module modules more most move must
my name named names native necessary need needed needs neither network new newer no node none nor not note nothing null number numpy
object objects of off official ok old on one only open openable operating option optional options or order org os other
otherwise our out output own package packages pacman page parameter parameters parent part particular pass path paths perhaps
permission pip pip3 place platform platforms please plugin plugins point port possible prefix present previous print problem
process program project proper properly property proto provide provided provider pyproject.toml python python2 python3 query
read readme readme.md real reason recent recommended record refer reference regular release remote remove repository request
requested require required requirement requirements requires resolve resource result return root row run running runtime same save
script search second section see selected server service session set setting settings setup setup.py setuptools several shared
shell should shouldn't show similar single site so software some something source sources specific specified specify standard
start state still string such sudo suitable support supported sure system systems table tag target terminated test tests than
that the their them then there these they this those through time to token too tool toolkit tools top try type types typically
ubuntu unable undefined unknown unless unsupported until update upgrade url usable use used user using usr usual usually util
utils valid value values variable variables vendor version versions via visit warning was wasn't we web website well were what
wheel when where whether which while whole will windows with within without won't work working would write wrong yet you your
yourself yum
stack trace traceback tree size length amount stub stubs gem gems crate crates jar jars head put post delete compatibility detected response since stream less utf-8
"""
MESSAGE_WORDS = frozenset(_WORDS_TEXT.split()) | _NOUNS.keys()


@dataclass(frozen=True)
class Absent:
    """A name that a sentence calls absent, the kind of thing it says that is, and whether it says so outright."""

    name: str
    noun: Noun
    is_stated: bool  # "X was not found", not only "X is required" or "install X"


@lru_cache(maxsize=4096)
def absent(text: str) -> tuple[Absent, ...]:
    """Return what a line calls absent: what it states before what it advises, each name once."""
    names: dict[str, Absent] = {}
    text = _WHERE_NEEDED.sub("", text)
    for sentence in _SENTENCE.split(_ADDRESS.sub("", without_speaker(text))):
        for item in sorted(_of_sentence(sentence), key=lambda item: not item.is_stated):
            names.setdefault(item.name.casefold(), item)
    raised = _SAYING_EXCEPTION.match(text)  # TmuxCommandNotFound, where the message states no name
    if raised and not any(item.is_stated for item in names.values()):
        for item in _of_sentence(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raised[1])):
            names.setdefault(item.name.casefold(), item)
    return tuple(sorted(names.values(), key=lambda item: not item.is_stated))


def speaks_of_absence(text: str) -> bool:
    """Say whether a line denies or demands something, in whatever words."""
    return _DENIAL.search(text) is not None or _SAYING_CLASS.match(text) is not None


def mentioned(text: str) -> list[str]:
    """Return the words of a message that are names by how they are written, quoted or with a capital letter amid a sentence."""
    raised, _, message = text.partition(": ")
    message = message if _EXCEPTION.fullmatch(raised) else text
    names: dict[str, bool] = {}
    for token in _TOKEN.finditer(_ADDRESS.sub("", message)):
        word = _Word.of(token, is_backward=False)
        is_amid = re.search(r"[\w,;] $", token.string[: token.start()]) is not None
        if word.is_name and (word.is_quoted or (is_amid and word.text[0].isupper())):
            names.setdefault(word.text, word.is_quoted)
    return sorted(names, key=lambda name: not names[name])


def _of_sentence(sentence: str) -> Iterator[Absent]:
    if _OTHER_MANAGER.search(sentence) and "apt" not in sentence:
        return
    for phrase in islice(_PHRASE.finditer(sentence), _MOST if not _CONDITION.match(sentence) else 0):
        which = phrase.lastgroup or ""
        is_backward = which.endswith("before")
        start, end = phrase.span()
        part = (max(start - _AROUND, 0), start) if is_backward else (end, min(end + _AROUND, len(sentence)))
        tokens = list(_TOKEN.finditer(sentence, *part))
        tokens = tokens[::-1] if is_backward else tokens
        groups, noun = _nearest(_Word.of(token, is_backward=is_backward) for token in tokens)
        before = re.search(r"(\w+) $", sentence[:start])
        noun = noun or (_NOUNS.get(before[1].casefold(), "") if before and not is_backward else "")
        names = [_joined(group[::-1] if is_backward else group) for group in groups if not _is_data(group)]
        # "requires rustc 1.70", "a compatible libgit2 version": it is there, in another version
        is_version = (
            which == "after"
            and bool(names)
            and not _NONE_THERE.search(sentence)
            and re.search(
                rf"{re.escape(names[-1])}\W{{0,3}}(?:v?\d|[<>=~!]=)|compatible {re.escape(names[-1])}(?!\w)", sentence
            )
        )
        is_of_data = noun == "other" or (phrase[0].endswith("exist") and noun not in ("program", "library"))
        for name in names if not is_version else ():
            if (
                is_of_data and f"{name.casefold()} distribution" not in sentence.casefold()
            ):  # "reinstall the libzip distribution"
                continue
            whose = re.search(rf"(\w+) (?:for|of) (?:the )?['\"`]?{re.escape(name)}(?!\w)", sentence[: phrase.start()])
            # "driver for firefox": it is the driver that is absent.
            if whose and _NOUNS.get(whose[1].casefold()) == "other":
                continue
            yield Absent(name, noun or ("program" if _ON_PATH.search(sentence) else ""), which.startswith("strong"))


class _Word(NamedTuple):
    text: str
    is_name: bool
    is_quoted: bool = False

    @classmethod
    def of(cls, token: re.Match[str], *, is_backward: bool) -> _Word:
        before, after = token.string[: token.start()], token.string[token.end() :]
        # "Open Babel" is a name, though messages are made of its first word, too.
        second = None if is_backward or not token[0][0].isupper() else _CAPITAL.match(after)
        text = token[0].removesuffix("'s").rstrip(".,-/") or token[0]  # "GraphViz's executables"
        if before.endswith((".", "::")) or after.startswith("::"):  # ".tup", "Bio::Seq"
            return cls(token[0], is_name=False)
        is_quoted = _OPENED.search(before) is not None and text[0].isalnum() and not _is_other_file(text)
        return cls(text, is_quoted or is_name(text) or (second is not None and is_name(second[1])), is_quoted)


def _nearest(words: Iterable[_Word]) -> tuple[list[list[_Word]], Noun]:
    """Return the words of the first name, those of names that are joined to it, and the noun that stands near."""
    names: list[list[_Word]] = []
    noun: Noun = ""
    is_new = True
    for number, word in enumerate(words):
        plain = word.text.casefold()
        of_word = _NOUNS.get(plain, "") if not (names and is_new) else ""  # "nodejs or node": the second is no noun
        noun = (
            of_word if not noun or (noun == "other" and of_word == "program") else noun
        )  # "node executable" is a program
        if word.is_name:
            names += [[]] if is_new else []
            if len(names[-1]) < _LONGEST_NAME and plain not in (other.text.casefold() for other in names[-1]):
                names[-1].append(word)
            is_new = False
        elif names and plain in _JOINING:
            is_new = True
        elif names and (is_new or plain == ":" or (plain[0].isalpha() and plain not in _NOUNS)):
            break
        if plain in _ENDING or number > _REACH:
            break
    return names, noun


def _is_data(words: list[_Word]) -> bool:
    """Say whether a name is that of an object of the program's own: fixture 'sox', role 'nginx'."""
    return len({word.is_quoted for word in words}) > 1


def _joined(words: list[_Word]) -> str:
    """Return the name that some words are: a file's alone, "fftw3.h" of "the FFTW fftw3.h header", else all of them."""
    return next((word.text for word in words if _FILE.search(word.text)), " ".join(word.text for word in words))


def is_name(word: str) -> bool:
    """Say whether a word can be the name of a thing, not one that messages are made of."""
    bare = word.strip("._-/+,").casefold()
    if not 1 < len(bare) <= 100 or not bare[0].isalpha() or "'" in bare or bare in MESSAGE_WORDS or bare.endswith("ly"):
        return False
    return _EXCEPTION.fullmatch(word) is None and not _is_other_file(bare)


def _is_other_file(word: str) -> bool:
    return _FILE.search(word) is None and _OTHER_FILE.search(word) is not None
