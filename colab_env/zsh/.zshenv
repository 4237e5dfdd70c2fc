# `colab-env env shell` starts zsh with this directory as ZDOTDIR: the account's own files are read, and then PATH is set.
# Their ZDOTDIR counts for them, also where their .zshenv names another one.
_colab_env_zdotdir=$ZDOTDIR
if [[ -n ${COLAB_ENV_ZDOTDIR-} ]]; then ZDOTDIR=$COLAB_ENV_ZDOTDIR; else unset ZDOTDIR; fi
[[ ! -r ${ZDOTDIR:-$HOME}/.zshenv ]] || . "${ZDOTDIR:-$HOME}/.zshenv"
COLAB_ENV_ZDOTDIR=${ZDOTDIR-}
ZDOTDIR=$_colab_env_zdotdir
