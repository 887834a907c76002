import os
import signal
import threading

from primaldual.training.termination import Termination


def test_a_second_sigterm_reaches_the_former_handler():
    heard = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with Termination(watched=True) as termination:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (termination.asked, heard) == (True, [])
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, former)


def test_it_leaves_sigterm_alone_where_it_is_not_watched_or_not_the_main_thread():
    before = signal.getsignal(signal.SIGTERM)
    with Termination(watched=False):
        assert signal.getsignal(signal.SIGTERM) == before
    failures = []

    def elsewhere():
        try:
            with Termination(watched=True) as termination:
                assert not termination.asked
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failures == []
