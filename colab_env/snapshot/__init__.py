"""A set-up as one file, and back. The verbs are in `colab_env.snapshots` and `colab_env.caches`."""
