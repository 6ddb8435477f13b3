"""Writers and rotators of a simulated world: everything that others do to the files."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import gzip
import random
from collections.abc import Callable, Collection, Iterable

import fakes
from simulation_profile import WRITERS, Profile
from simulation_truth import Content, Truth

NAMES = ("/logs/a.log", "/logs/b.log", "/logs/c.log", "/logs/x/app.log", "/logs/y/app.log")
DIRECTORIES = ("/logs", "/logs/x", "/gone")
LATE_DIRECTORIES = ("/logs/y", "/logs/z")
POISON = b"POISON"
UNLINKED_WAIT_S = 10.0


@functools.lru_cache(4096)  # asked of the same few names at each step
def matches(path: str) -> bool:
    """Return whether a path matches one of PATTERNS; written without kagent's own code."""
    parts = path.split("/")
    return (
        len(parts) in {3, 4}
        and parts[1] == "logs"
        and fnmatch.fnmatchcase(parts[-1], "*.log")
        and not any(part.startswith(".") for part in parts[1:])
    )


def is_generation(name: str, paths: Iterable[str]) -> bool:
    """Return whether `rotated: auto` means a name; written without kagent's own code."""
    return any(name.startswith((f"{path}.", f"{path}-")) for path in paths) and not any(
        "/" in name[len(path) :] for path in paths if name.startswith(path)
    )


def is_near(name: str, paths: Iterable[str]) -> bool:
    """Return whether a copy is looked for at a name: in the same directory, or as a generation."""
    directory = name.rpartition("/")[0]
    is_beside = matches(name) and directory in {path.rpartition("/")[0] for path in paths}
    return is_beside or is_generation(name, paths)


@dataclasses.dataclass
class _Copying:
    """A copy under way."""

    node: fakes.Node
    source: Content
    copy: fakes.Node
    content: Content
    begun: float


class Writers:
    """All other processes; each action is a method, and `write` does a random one of them.

    `destroying` is called with a file whose bytes are about to be destroyed and the size that is
    left, `judge_copy` with one that is about to be truncated, the content of its copy, and when
    that was begun.
    """

    def __init__(
        self,
        chooser: random.Random,
        clock: fakes.FakeClock,
        files: fakes.FakeFiles,
        truth: Truth,
        profile: Profile,
        destroying: Callable[[fakes.Node, int], None],
        judge_copy: Callable[[fakes.Node, Content, float], None],
    ) -> None:
        self.named: dict[fakes.Node, list[str]] = {}
        # When a file lost its last matching name. A short return that no scan saw changes nothing.
        self.left_at: dict[fakes.Node, float] = {}
        # Files with a matching name that could not be looked at: nobody knows that they have it.
        self._hidden: set[fakes.Node] = set()
        self._random = chooser
        self._clock = clock
        self._files = files
        self._truth = truth
        self._profile = profile
        self._destroying = destroying
        self._judge_copy = judge_copy
        self._lines = 0
        self._copying: list[_Copying] = []
        self.packed: set[fakes.Node] = set()
        for directory in DIRECTORIES:
            files.make_directory(directory)

    weights = WRITERS
    line_end = b"\n"

    def write(self) -> str | None:
        writers = self._profile.writers
        kind = self._random.choices(writers, [self.weights[one] for one in writers])[0]
        said = getattr(self, f"_{kind}")()
        self.note_names()
        self.note_silence()
        return None if said is None else f"{kind} {said}"

    def _a_node(self) -> fakes.Node | None:
        """Return a random file that exists, most likely one with a matching name."""
        nodes = [node for node in self._truth.current if node.links or node.handles]
        for node in list(self._truth.current):
            if node not in nodes:
                del self._truth.current[node]
        nodes = [node for node in nodes if node not in self.packed]
        if not nodes:
            return None
        matching = [node for node in nodes if self.is_matching(node)]
        return self._random.choice(matching if matching and self._random.random() < 0.7 else nodes)

    def a_name(self) -> str | None:
        names = sorted(path for paths in self.named.values() for path in paths)
        return self._random.choice(names) if names else None

    def line(self, size: int | None = None) -> bytes:
        self._lines += 1
        head = b"%d:" % self._lines
        size = self._random.choice([0, 1, 8, 20]) if size is None else size
        return head + b"abcdefghijklmnopqrstuvwxyz"[self._lines % 26 :][:1] * size + b"\n"

    def encode(self, text: str) -> bytes:
        return text.encode()

    def poison(self) -> bytes:
        return POISON + self.line(0)

    def put(self, node: fakes.Node, data: bytes) -> str:
        self._files.append(node, data)
        self._truth.note_appended(node, data, self._clock.now, is_late=self.is_silent(node))
        return f"inode {node.number} {self.named.get(node)} +{len(data)} at {len(node.data)}"

    def _append(self) -> str | None:
        node = self._a_node()
        if node is None:
            return None
        lines = b"".join(self.line() for _ in range(self._random.choice([1, 1, 3, 12])))
        return self.put(node, lines)

    def _append_half(self) -> str | None:
        node = self._a_node()
        line = self.line() if self._random.random() < 0.8 else self.line(3 * 64)
        return None if node is None else self.put(node, line[: self._random.randrange(len(line))])

    def _append_long(self) -> str | None:
        node = self._a_node()
        limit = self._profile.record_bytes_max
        size = self._random.choice([limit - 3, limit, 2 * limit, 5 * limit])
        return None if node is None else self.put(node, self.line(size))

    def _append_poison(self) -> str | None:
        node = self._a_node()
        return None if node is None else self.put(node, self.poison())

    def _create(self) -> str | None:
        path = self._random.choice(NAMES)
        if not self._is_free(path):
            return None
        return self._create_at(path)

    def _create_at(self, path: str) -> str:
        node = self._files.create(path)
        self._truth.note_created(node)
        self.note_names()
        if self._random.random() < 0.7:
            self.put(node, self.line() + self.line())
        return f"{path} inode {node.number} of {len(node.data)}"

    def _rotate(self) -> str | None:
        name = self.a_name()
        if name is None or not matches(name):
            return None
        new = self._generation(name)
        self._files.rename(name, new)
        self.note_names()
        return f"{name} to {new}, new {self._create_at(name)}"

    def _generation(self, name: str) -> str:
        stem = name.removesuffix(".log")
        self._lines += 1
        return self._random.choice(
            [f"{name}.{self._lines}", f"{stem}-{self._lines}.log", f"/gone/{self._lines}"]
        )

    def _rename_in(self) -> str | None:
        name = self.a_name()
        new = self._random.choice(NAMES)
        if name is None or not self._is_free(new):
            return None
        self._files.rename(name, new)
        return f"{name} to {new}"

    def _rename_within(self) -> str | None:
        name = self.a_name()
        if name is None or not self._has_directory("/logs/x"):
            return None
        self._lines += 1
        new = self._random.choice([f"/logs/a-{self._lines}.log", f"/logs/x/{self._lines}.log"])
        self._files.rename(name, new)
        return f"{name} to {new}"

    def _rename_out(self) -> str | None:
        name = self.a_name()
        if name is None:
            return None
        self._lines += 1
        new = self._random.choice([f"{name}.{self._lines}", f"/gone/{self._lines}"])
        self._files.rename(name, new)
        return f"{name} to {new}"

    def _truncate_to(self, node: fakes.Node, size: int) -> str:
        self._destroying(node, size)
        self._files.truncate(node, size)
        self._truth.note_truncated(node, size)
        return f"inode {node.number} {self.named.get(node)} to {size}"

    def _truncate(self) -> str | None:
        node = self._a_node()
        return None if node is None else self._truncate_to(node, 0)

    def _stale(self) -> str | None:
        """Truncate under a writer that goes on where it was: what is before is a hole."""
        node = self._a_node()
        if node is None or not node.data:
            return None
        size = len(node.data)
        said = self._truncate_to(node, 0)
        if self._random.random() < 0.3:
            self._random.choice([self._append, self._append_half])()
        if len(node.data) < size:
            self.put(node, bytes(size - len(node.data)) + self.line())
        return f"{said}, written on at {size}"

    def _regrow(self) -> str | None:
        """Truncate, and write on until the file is longer than before, or just as long."""
        node = self._a_node()
        if node is None:
            return None
        size = len(node.data)
        said = self._truncate_to(node, 0)
        grown = b"".join(self.line(20) for _ in range(size // 24 + 2))
        if self._random.random() < 0.3 and size:
            grown = grown[: size - len(self.line_end)] + self.line_end
        self.put(node, grown)
        return f"{said}, grown to {len(node.data)}"

    def _shorten(self) -> str | None:
        node = self._a_node()
        if node is None:
            return None
        return self._truncate_to(node, self._random.randint(0, len(node.data)))

    def _rewrite_same(self) -> str | None:
        node = self._a_node()
        if node is None:
            return None
        data, since = bytes(node.data), self._truth.current[node].last_append
        said = self._truncate_to(node, 0)
        self.put(node, data)
        self._truth.current[node].last_append = since  # nobody can see that anything came
        return f"{said}, rewritten"

    def _unlink(self) -> str | None:
        name = self.a_name()
        if name is None:
            return None
        self._files.unlink(name)
        return name

    def _replace(self) -> str | None:
        """Remove a file and create another; if nobody holds it, it gets the same inode."""
        name = self.a_name()
        if name is None:
            return None
        self._files.unlink(name)
        self.note_names()
        return self._create_at(name)

    def _copy(self) -> str | None:
        node, path = self._a_node(), self._random.choice(NAMES)
        if node is None or not self._is_free(path):
            return None
        data = bytes(node.data)
        copy = self._files.create(path)
        self._truth.note_created(copy).source = self._truth.current[node]
        self.note_names()
        self.put(copy, data)
        return f"inode {node.number} to {path} inode {copy.number}"

    def _copytruncate(self) -> str | None:
        """Copy a file bit by bit, then truncate it: in one go, or with others in between."""
        if not self._copying or self._random.random() < 0.2:
            name = self.a_name()
            if name is None or not matches(name):
                return None
            path = self._generation(name)
            if not self._is_free(path):
                return None
            node = self._files.find(name)
            if node in self.packed:
                return None
            copy = self._files.create(path)
            self._files.hold(node)
            self._files.hold(copy)
            content = self._truth.note_created(copy)
            content.source = self._truth.current[node]
            content.skippable = content.source.skippable
            self._copying.append(_Copying(node, content.source, copy, content, self._clock.now))
            self.note_names()
            if self._random.random() < 0.3:
                return f"begins {name} to {path} inode {copy.number}"
        one = self._random.choice(self._copying)
        said = f"inode {one.node.number} to {self.named.get(one.copy)} inode {one.copy.number}"
        steps = self._random.choice([1, 2, 1000])
        for _ in range(steps):
            done = self._copy_on(one)
            if done:
                self._copying.remove(one)
                self._files.let_go(one.node)
                self._files.let_go(one.copy)
                return f"{said} {done}"
        return f"{said}, {len(one.copy.data)} bytes"

    def _copy_on(self, one: _Copying) -> str:
        """Do one step of a copy; return how it ended, if it did."""
        current = self._truth.current
        if current.get(one.copy) is not one.content or current.get(one.node) is not one.source:
            return "given up"
        at = len(one.copy.data)
        if bytes(one.copy.data) != bytes(one.node.data[:at]):
            return "spoilt"
        chunk = bytes(one.node.data[at : at + self._random.choice([7, 64, 4096])])
        if chunk:
            self._files.append(one.copy, chunk)
            self._truth.note_appended(one.copy, chunk, self._clock.now, is_late=False)
            return ""
        if self._random.random() < 0.1:  # what is written now is lost
            self.put(one.node, self.line())
        one.content.is_rotated = True
        one.content.cuts.add(at)
        self._judge_copy(one.node, one.content, one.begun)
        size = len(one.node.data)
        self._truncate_to(one.node, 0)
        if "stale" in self._profile.writers and self._random.random() < 0.3:
            self.put(one.node, bytes(size) + self.line())
        return f"done with {at} bytes"

    def _compress(self) -> str | None:
        """Do what gzip does; where it leads to a name of the pattern is decided as for others."""
        name = self.a_name()
        if name is None or (matches(name) and self._random.random() < 0.7):
            return None
        node = self._files.find(name)
        self._lines += 1
        in_pattern = f"{name.partition('.log')[0]}-z{self._lines}.log"
        path = in_pattern if self._random.random() < 0.2 else f"{name}.gz"
        if node in self.packed or not self._is_free(path) or not node.data:
            return None
        packed = self._files.create(path)
        self.packed.add(packed)
        content = self._truth.note_created(packed)
        content.source = self._truth.current[node]
        content.skippable = content.source.skippable
        content.append(bytes(node.data))
        content.is_rotated = node.links == 1  # one with another name goes on there
        content.cuts.add(len(node.data))
        if content.is_rotated:
            self._judge_copy(node, content, self._clock.now)
        self._files.append(packed, gzip.compress(bytes(node.data), mtime=0))
        packed.durable_bytes = len(packed.data)
        packed.mtime_ns = node.mtime_ns
        self._files.unlink(name)
        return f"{name} inode {node.number} to {path} inode {packed.number}"

    def _twin(self) -> str | None:
        """Create a file that holds nothing but what all of them begin with."""
        path = self._random.choice(NAMES)
        if not self._is_free(path):
            return None
        node = self._files.create(path)
        self._truth.note_created(node)
        self.note_names()
        line = self.encode("# the fields are: everything") + self.line_end
        return self.put(node, line * self._random.choice([1, 2, 40]))

    def _link(self) -> str | None:
        name = self.a_name()
        if name is None:
            return None
        self._lines += 1
        new = self._random.choice([f"/logs/a-{self._lines}.log", f"/gone/{self._lines}"])
        self._files.add_name(self._files.find(name), new)
        return f"{name} as {new}"

    def _make_directory(self) -> str | None:
        path = self._random.choice(LATE_DIRECTORIES)
        if self._exists(path):
            return None
        self._files.make_directory(path)
        return path

    def _move_directory(self) -> str | None:
        old, new = self._random.choice(
            [("/logs/x", "/logs/y"), ("/logs/y", "/gone/y"), ("/gone/y", "/logs/z")]
        )
        if not self._has_directory(old) or self._exists(new):
            return None
        self._files.rename(old, new)
        return f"{old} to {new}"

    def _plant(self) -> str | None:
        path = self._random.choice(["/logs/planted.log", "/logs/a-planted.log"])
        if self._exists(path):
            self._files.unlink(path)
            return f"{path} removed"
        kind = self._random.choice(["link", "other", "directory", "nowhere"])
        if kind == "link":
            self._files.make_link("/logs/a.log", path)
        elif kind == "nowhere":
            self._files.make_link("/nowhere", path)
        elif kind == "other":
            self._files.make_other(path)
        else:
            self._files.make_directory(path)
        return f"{path} {kind}"

    def _write_back(self) -> str | None:
        for node in self._truth.current:
            node.durable_bytes = len(node.data)
        return ""

    # --- names ----------------------------------------------------------------------------------

    def _exists(self, path: str) -> bool:
        try:
            self._files.find(path, follow_last=False)
        except OSError:
            return False
        return True

    def _has_directory(self, path: str) -> bool:
        return self._exists(path) and self._files.find(path).kind == "directory"

    def _is_free(self, path: str) -> bool:
        return self._has_directory(path.rpartition("/")[0]) and not self._exists(path)

    def is_matching(self, node: fakes.Node) -> bool:
        return any(map(matches, self.named.get(node, ())))

    def note_names(self) -> None:
        """Take in which names files have now, and which of them lost their last matching one."""
        self.named = {}
        for path, node in self._files.files():
            self.named.setdefault(node, []).append(path)
        for node, content in self._truth.current.items():
            names = self.named.get(node, [])
            if content.rotated_from and not any(
                is_near(name, content.rotated_from) for name in names
            ):
                content.rotated_from, content.may_repeat = (), True
            seen = [name for name in names if matches(name)]
            if seen and not any(is_near(name, content.rotated_from) for name in seen):
                content.may_repeat = True  # scans see it under a name that says nothing
        for node in self._truth.current:
            if not self.is_matching(node):
                self.left_at.setdefault(node, self._clock.now)

    def note_hidden(self, path: str) -> None:
        """Take in that a file, or all of a directory, cannot be looked at."""
        for node, names in self.named.items():
            if any(name == path or name.startswith(f"{path}/") for name in names):
                self._hidden.add(node)
                self.left_at.setdefault(node, self._clock.now)

    def note_scan(self, seen: Collection[int]) -> None:
        """Take in that kagent saw what has a matching name.

        Args:
            seen: The inodes of what it saw, of which those count that were hidden.
        """
        for node in self.named:
            if self.is_matching(node) and (node not in self._hidden or node.number in seen):
                self.left_at.pop(node, None)
                self._hidden.discard(node)

    def note_silence(self) -> None:
        """Take in which files may be cut where they end: nobody has to read on."""
        for node in self.left_at:  # of no other anybody may be silent
            content = self._truth.current.get(node)
            if content is not None and self.is_silent(node):
                content.cuts.add(len(node.data))
                if node.data.endswith(b"\0"):  # nobody wrote those, they are in no line
                    content.cuts.add(len(node.data.rstrip(b"\0")))

    def is_silent(self, node: fakes.Node) -> bool:
        """Nobody has to read on: no matching name can be seen, and no byte came for long."""
        if node not in self.left_at:
            return False
        wait_s = self._profile.rotate_wait_s if node.links else UNLINKED_WAIT_S
        since = max(self.left_at[node], self._truth.current[node].last_append)
        is_long = self._clock.now - since >= wait_s
        return is_long and (node in self._hidden or not self.is_matching(node))

    def create_last(self) -> fakes.Node:
        """Create one more file with a line."""
        node = self._files.create("/logs/last.log")
        self._truth.note_created(node)
        self.note_names()
        self.put(node, self.line())
        return node
