"""A contestant whose steps take no time, and what can go wrong with one."""

import os
import signal
import threading

from benchmarks.contestants import serving


def make(spec):
    print("what a library prints when it starts")
    if "missing" in spec:
        __import__(spec["missing"])
    taken = []

    def die_soon(count):
        timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGKILL))
        timer.start()
        return float(count)

    def fail(count):
        raise ValueError(f"step {count}\nand a line that says no more")

    def abort(_):
        os.write(2, b"the last words\n")
        os.abort()

    tasks = {
        "count": lambda count: serving.timed(lambda: taken.append(1), count),
        "taken": lambda _: float(len(taken)),
        "echo": lambda count: count / 8,
        "grow": lambda count: len(bytearray(b"x" * (count << 20))) * 0.0,
        "fail": fail,
        "abort": abort,
        "die soon": die_soon,
    }
    return serving.Contestant(tasks, {"pid": os.getpid(), **spec})


if __name__ == "__main__":
    serving.serve(make)
