"""Ctrl-C and SIGTERM end a script at any moment with one line and the shell's exit status.

A thread ends the process, so that it ends even while the main thread is inside of TensorFlow or
still imports it. Nothing is lost: `run_files` writes every file aside and renames it.
"""

import os
import signal
import socket
import sys
import threading

WORDS = {signal.SIGINT: 'interrupted', signal.SIGTERM: 'terminated'}


def install(script: str) -> None:
    """From now on these signals end the process; one that is ignored stays so (nohup)."""
    if sys.stderr is None:
        return
    stderr = os.dup(2)  # while TensorFlow is imported, 2 is held back
    reader, writer = socket.socketpair()  # not a pipe: Windows has no pipes that don't block
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    for number in WORDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    threading.Thread(target=_wait, args=(script, reader, writer, stderr), daemon=True).start()


def _wait(script, reader, writer, stderr):  # the writer must stay open
    number = None
    while number not in WORDS:
        number, = reader.recv(1)
    line = '%s: %s\n' % (script, WORDS[number])
    try:
        # On a terminal the bar of progress, or ^C, stands in the line.
        os.write(stderr, ('\n' * os.isatty(stderr) + line).encode())
    finally:
        os._exit(128 + number)
