"""The console commands `metarun` and `metatest`: the scripts of these names, wherever one is."""

import runpy


def metarun() -> None:
    """Meta-trains a learned optimizer."""
    runpy.run_module('metarun', run_name='__main__', alter_sys=True)


def metatest() -> None:
    """Evaluates learned optimizers."""
    runpy.run_module('metatest', run_name='__main__', alter_sys=True)
