#!/usr/bin/python3
# embed_test: libenfilade inside a long-lived workload: connections stay warm, and a node that closed one costs nothing.
import ctypes
import os
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)

LIBRARY = os.environ["ENFILADE_LIBRARY"]


class Workload:
    """A program that loaded libenfilade and keeps one `struct enf`."""

    def __init__(self, config):
        self.lib = ctypes.CDLL(LIBRARY)
        self.lib.enf_secret_data.restype = ctypes.c_void_p
        self.lib.enf_secret_len.restype = ctypes.c_size_t
        self.lib.enf_error.restype = ctypes.c_char_p
        self.lib.enf_error_name.restype = ctypes.c_char_p
        self.enf = ctypes.c_void_p()
        rc = self.lib.enf_open(os.fsencode(config), ctypes.byref(self.enf))
        assert rc == 0, self.lib.enf_error(self.enf)

    def unseal(self, operation="unlock-db"):
        """-> (code's name, the secret)"""
        secret = ctypes.c_void_p()
        rc = self.lib.enf_unseal(self.enf, operation.encode(), None, ctypes.byref(secret))
        if rc != 0:
            return self.lib.enf_error_name(rc).decode(), None
        data = ctypes.string_at(self.lib.enf_secret_data(secret), self.lib.enf_secret_len(secret))
        self.lib.enf_secret_free(secret)
        return "ok", data

    def close(self):
        self.lib.enf_close(self.enf)


class EmbedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World("embed")

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def connections(self):
        return {node: row["counters"]["connections"] for node, row in self.w.status().items()}

    def releases(self):
        return sum(row["counters"]["releases"] for row in self.w.status().values())

    def setUp(self):
        self.workload = Workload(self.w.config())

    def tearDown(self):
        self.workload.close()

    def test_1_later_walks_make_no_new_connections(self):
        first = self.workload.unseal()
        self.assertEqual(first[0], "ok")
        before, released = self.connections(), self.releases()
        for _ in range(5):
            self.assertEqual(self.workload.unseal(), first)
        hsm = [node for node in before if node != "c1"]
        self.assertEqual({n: self.connections()[n] for n in hsm}, {n: before[n] for n in hsm})
        self.assertEqual(self.releases(), released + 5 * 4)

    def test_2_a_warm_connection_that_is_gone_is_made_anew(self):
        first = self.workload.unseal()
        self.w.localnet("stop", "n1", "n3", "n4", "n6")
        self.w.localnet("start", "n1", "n3", "n4", "n6")
        released = self.releases()
        self.assertEqual(self.workload.unseal(), first)
        self.assertEqual(self.releases(), released + 4)

    def test_3_a_refusal_leaves_the_next_walk_alone(self):
        self.assertEqual(self.workload.unseal()[0], "ok")
        self.w.measure("77" * 32)
        self.assertEqual(self.workload.unseal()[0], "evidence")
        self.assertEqual(self.workload.unseal()[0], "evidence")
        self.w.reboot_tpm()
        self.assertEqual(self.workload.unseal()[0], "ok")


if __name__ == "__main__":
    unittest.main()
