"""Dockerfiles are read as BuildKit reads them: compared with its own parser, which the package `dockerfile` holds."""

from __future__ import annotations

import container_golden
import dockerfile as buildkit
import pytest

from colab_env.image import reading

TEXTS = {
    "a comment and an empty line inside a continuation": "FROM x\nRUN a \\\n  # comment\n\n  b\nCOPY . .\n",
    "a comment that ends with a backslash": "FROM x\n# a \\\nRUN b\n",
    "heredoc": "FROM x\nRUN <<EOF\napt-get update\nFROM y\nEOF\nCOPY . .\n",
    "heredoc with tabs": "FROM x\nRUN <<-EOF\n\ta\n\tEOF\nCOPY . .\n",
    "two heredocs": "FROM x\nCOPY <<a <<'b' /etc/\none\na\ntwo\nb\nRUN c\n",
    "a heredoc for a program": "FROM x\nRUN python3 <<'EOF' && b\nprint(1)\nEOF\nENV A=1\n",
    "no heredoc: a shift": "FROM x\nRUN echo $((1<<2))\nENV A=1\n",
    "no heredoc: a here string": "FROM x\nRUN cat <<< a\nENV A=1\n",
    "a heredoc after ONBUILD": "FROM x\nONBUILD RUN <<EOF\na\nEOF\nENV A=1\n",
    "an escape directive": "# escape=`\nFROM x\nRUN dir c:\\\nRUN a `\n  b\n",
    "a directive after a comment is a comment": "# comment\n# escape=`\nFROM x\nRUN a \\\n  b\n",
    "Windows' line ends": "FROM x\r\nRUN a \\\r\n  b\r\nENV A=1\r\n",
    "spaces after the backslash": "FROM x\nRUN a \\  \n  b\n",
    "two backslashes": "FROM x\nRUN a \\\\\nRUN b\n",
    "ARG in FROM": "ARG V=3.12\nFROM python:${V} AS b\nFROM b\n",
    "small letters": "from x as y\nrun a\n",
    "ONBUILD": "FROM x\nONBUILD RUN pip install y\nONBUILD COPY . .\n",
    "a byte order mark": "\ufeffFROM x\nRUN a\n",
    "a tab after the name": "FROM\tx\nRUN\ta\n",
    "no end of the last line": "FROM x\nRUN a \\\n b",
    "a continuation at the end": "FROM x\nRUN a \\\n",
}


@pytest.mark.parametrize(
    "text", [*TEXTS.values(), *(path.read_text() for path in container_golden.HERE.glob("*Dockerfile"))]
)
def test_the_same_instructions_are_on_the_same_lines(text):
    ours = [(each.name, each.start, each.end, each.is_onbuild) for each in reading.read(text).instructions]
    theirs = [
        (each.sub_cmd.upper() if each.cmd.upper() == "ONBUILD" else each.cmd.upper(), each.start_line, each.end_line)
        for each in buildkit.parse_string(text)
    ]
    assert [each[:3] for each in ours] == theirs


@pytest.mark.parametrize("text", [TEXTS["heredoc"], TEXTS["heredoc with tabs"]])
def test_a_heredoc_is_the_script(text):
    run = reading.read(text).instructions[1]
    assert next(reading.commands(run.script))[0] in ("apt-get", "a")


def test_stages_are_known_by_name_and_number():
    file = reading.read(
        "ARG V=3\nARG B=py\nFROM $B:${V}-slim AS One\nFROM one\nFROM ${NONE:-other}\nCOPY --from=0 a b\n"
    )
    assert [(each.base, each.name, each.parent) for each in file.stages] == [
        ("py:3-slim", "one", None),
        ("one", None, 0),
        ("other", None, None),
    ]
    assert file.stage_named("ONE") is file.stages[0]
    assert file.stage_named("0") is file.stages[0]
    assert file.stage_named("nginx") is None
    assert file.chain(file.stages[1]) == file.stages[:2] or list(file.chain(file.stages[1])) == list(file.stages[:2])
    assert file.descendants(file.stages[0]) == list(file.stages[:2])


def test_variables_go_to_the_stages_that_are_built_on_one():
    file = reading.read(
        'ARG V=1\nFROM a AS b\nARG V\nARG W=2\nENV A=$V B="$W x"\nENV OLD form of it\nWORKDIR /a\nFROM b\nWORKDIR c\nFROM d\n'
    )
    assert reading.variables_of(file, file.stages[1]) == {"A": "1", "B": "2 x", "OLD": "form of it"}
    assert reading.variables_of(file, file.stages[2]) == {}
    assert reading.workdir(file, file.stages[1]) == "/a/c"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("a b && c || d; e | f", [["a", "b"], ["c"], ["d"], ["e"], ["f"]]),
        (
            "A=1 B='2 3' pip install 'x>=1' > log 2>&1",
            [
                [
                    "pip",
                    "install",
                    "x>=1",
                ]
            ],
        ),
        ('echo "a && b" # c && d', [["echo", "a && b"]]),
        ("if [ -f x ]; then pip install y; fi", [["[", "-f", "x", "]"], ["pip", "install", "y"], ["fi"]]),
        ("a ${B:-c;d} 'it", [["a", "${B:-c;d}", "'it"]]),
    ],
)
def test_the_commands_of_a_script(script, words):
    assert list(reading.commands(script)) == words


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "nonsense", "FROM", "RUN <<", "FROM x\nRUN <<EOF\nno end", 'COPY ["a", \n', "ENV\n", "\\\n\\\n"],
)
def test_what_is_no_dockerfile_is_passed_over(text):
    file = reading.read(text)
    for stage in file.stages:
        reading.variables_of(file, stage)
        for each in stage.instructions:
            assert isinstance(each.words, list)
            assert isinstance(each.script, str)


def test_variables_that_double_themselves_stay_as_large_as_a_program_can_get():
    file = reading.read("FROM x\nENV A=0123456789\n" + "ENV A=$A$A\n" * 60)
    assert len(reading.variables_of(file, file.stages[0])["A"]) < 1_000_000


def test_a_stage_is_named_by_its_number_in_plain_digits():
    file = reading.read("FROM x\nFROM y\n")
    assert file.stage_named("1") is file.stages[1]
    assert [file.stage_named(name) for name in ("²", "01", "9" * 5000)] == [None, None, None]
