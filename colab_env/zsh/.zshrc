if [[ -n $COLAB_ENV_ZDOTDIR ]]; then ZDOTDIR=$COLAB_ENV_ZDOTDIR; else unset ZDOTDIR; fi
unset COLAB_ENV_ZDOTDIR _colab_env_zdotdir
[[ ! -r ${ZDOTDIR:-$HOME}/.zshrc ]] || . "${ZDOTDIR:-$HOME}/.zshrc"
path=("$VIRTUAL_ENV/bin" $path)
PROMPT="($VIRTUAL_ENV_PROMPT) $PROMPT"
rehash
