import subprocess
from pathlib import Path

import pytest

from colab_env.errors import NoRemoteError
from colab_env.open_in_colab import badge

BADGE = (
    "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{})"
)


def git(directory, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", directory, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    place = tmp_path / "clone"
    place.mkdir()
    git(place, "init", "--initial-branch=main")
    git(place, "remote", "add", "origin", "https://github.com/ada/engine.git")
    return place


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/ada/engine",
        "https://github.com/ada/engine.git",
        "https://github.com/ada/engine/",
        "http://www.github.com/ada/engine",
        "https://GitHub.com/ada/engine.git",
        "https://ada:hunter2@github.com/ada/engine.git",
        "https://ghp_hunter2@github.com/ada/engine.git",
        "git@github.com:ada/engine.git",
        "github.com:ada/engine",
        "ssh://git@github.com/ada/engine.git",
        "ssh://git@ssh.github.com:443/ada/engine.git",
        "git+ssh://git@github.com/ada/engine",
        "git://github.com/ada/engine.git",
    ],
)
def test_every_way_to_write_the_remote_gives_the_same_badge_without_credentials(repository, url):
    git(repository, "remote", "set-url", "origin", url)
    assert badge(repository / "a.ipynb") == BADGE.format("ada/engine/blob/main/a.ipynb")


def test_a_cell_shows_the_markdown_itself(repository):
    line = badge(repository / "a.ipynb")
    assert repr(line) == str(line) == f"{line}"


def test_the_path_starts_at_the_top_of_the_repository_and_is_quoted(repository):
    directory = repository / "my notes"
    directory.mkdir()
    line = badge(directory / "für (alle) #1.ipynb")
    assert line.endswith("/blob/main/my%20notes/f%C3%BCr%20%28alle%29%20%231.ipynb)")


def test_the_default_notebook_is_the_one_in_the_current_directory(repository, monkeypatch):
    monkeypatch.chdir(repository)
    assert badge() == BADGE.format("ada/engine/blob/main/colab_bootstrap.ipynb")


def test_a_repository_reached_through_a_link_gives_the_same_path(repository, tmp_path):
    (tmp_path / "link").symlink_to(repository)
    assert badge(tmp_path / "link" / "a.ipynb").endswith("/blob/main/a.ipynb)")


def test_the_default_branch_of_the_remote_comes_before_the_current_one(repository):
    git(repository, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/release/2")
    assert "/blob/release/2/" in badge(repository / "a.ipynb")


def test_without_a_default_branch_the_current_one_counts(repository):
    git(repository, "checkout", "-b", "try/this")
    assert "/blob/try/this/" in badge(repository / "a.ipynb")


def test_a_detached_head_asks_for_the_branch(repository):
    git(repository, "commit", "--allow-empty", "-m", "one")
    git(repository, "checkout", "--detach")
    with pytest.raises(NoRemoteError, match="detached HEAD") as caught:
        badge(repository / "a.ipynb")
    assert "branch='main'" in caught.value.hint
    assert "/blob/main/" in badge(repository / "a.ipynb", branch="main")


def test_repository_and_branch_can_be_given(repository):
    git(repository, "remote", "remove", "origin")
    assert badge(repository / "a.ipynb", repository="eve/fork", branch="x") == BADGE.format("eve/fork/blob/x/a.ipynb")


def test_no_remote_is_said(repository):
    git(repository, "remote", "remove", "origin")
    with pytest.raises(NoRemoteError, match="no remote named origin") as caught:
        badge(repository / "a.ipynb")
    assert "git remote add origin" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@gitlab.com/ada/engine.git",
        "https://me:hunter2@github.com.example.org/ada/engine",
        "https://me:hunter2@notgithub.com/ada/engine",
        "https://me:hunter2@example.org:8443/mirror@github.com/ada/engine",
        "git@bitbucket.org:ada/engine.git",
        "/srv/git/engine.git",
    ],
)
def test_another_host_than_github_is_refused_without_showing_credentials(repository, url):
    git(repository, "remote", "set-url", "origin", url)
    with pytest.raises(NoRemoteError, match=r"not a repository on github\.com") as caught:
        badge(repository / "a.ipynb")
    assert "hunter2" not in str(caught.value)


def test_a_notebook_outside_any_repository_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(NoRemoteError, match="is not in a git repository") as caught:
        badge(tmp_path / "a.ipynb")
    assert str(tmp_path) in caught.value.message


def test_a_directory_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(NoRemoteError, match="missing is not there"):
        badge(tmp_path / "missing" / "a.ipynb")


def test_a_machine_without_git_says_so(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoRemoteError, match="git does not start") as caught:
        badge(Path(repository) / "a.ipynb")
    assert "install git" in caught.value.hint
