"""Environments by name: one room for each thing that can be done with one. The verbs are in `colab_env.envs`."""
