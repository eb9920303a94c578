# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled twin of `_framing_py.py`: frames off the wire, as C loops over bytes and file descriptors.

How to read it, for who has never seen Cython: it is Python with C types. `cdef` declares a C variable, function or
struct; `cimport` takes over what a .pxd declares, of ours or of the C library; `<T>x` is a C cast. `nogil` marks what
touches no Python object, so that `with nogil:` can let other threads run meanwhile. Behind a C function, `except -1`
names the value that tells of an exception (`except? 0`: that may), `noexcept` says that there is none. Plain `def` is
the module's surface, the same as the pure twin's, whose docstrings say what it does. The attributes of a class that
other modules look into stand in the .pxd.

Where the time goes: the kernel's `recv` here and its `send` in `_flush.pyx`, once per peer and turn. Around them no
Python object is made per receiver or per result, and only exceptions (short writes, errors, odd frames) come back as
objects. Whatever is odd or rare is handed to the Python code that says in words what is wrong.
"""

from cpython.array cimport array
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset

from .core.room.deliveries import RANK_FRAME_BYTES
from .core.room.encoding import check_run, encode, runs
from .core.room.refusals import overload, refusal
from .core.wire import codes
from .core.wire.codes import CommandFlag, FrameType, RefusedCode, Status, Target
from .core.wire.frames import Leave, Pong
from .core.wire.violations import bad_length, member_frame
from .errors import ProtocolViolation
from .server.sockets.descriptors import READ_DIRECT as _READ_DIRECT, WRITE_DIRECT as _WRITE_DIRECT
from .system.reactor import HUNG_UP as _HUNG_UP, READABLE as _READABLE, WRITABLE as _WRITABLE

# The numbers of the wire and of the tables, taken from where they are defined, as C integers.
cdef uint32_t FRAME_OVERHEAD = codes.FRAME_OVERHEAD
cdef uint8_t COMMAND = FrameType.COMMAND, RESULT = FrameType.RESULT
cdef uint8_t EXECUTE = FrameType.EXECUTE, RANK = FrameType.RANK, ACCEPTED = FrameType.ACCEPTED
cdef uint8_t ROUTED = FrameType.ROUTED, DONE = FrameType.DONE
cdef uint8_t ALL = Target.ALL, ONE = Target.ONE, NEXT = Target.NEXT, LEAST = Target.LEAST
cdef uint8_t PART = Status.PART, REJECTED = Status.REJECTED, EXPIRED = Status.EXPIRED, LEFT = Status.LEFT
cdef uint8_t RESULTS = CommandFlag.RESULTS, QUIET = CommandFlag.QUIET
cdef uint8_t COMMAND_FLAGS = CommandFlag.RESULTS | CommandFlag.QUIET
cdef int NO_TARGET = RefusedCode.NO_TARGET, NOT_LOWER = RefusedCode.NOT_LOWER
cdef int NO_SUCH_RANK = RefusedCode.NO_SUCH_RANK, BUSY = RefusedCode.BUSY
cdef int DUPLICATE = RefusedCode.DUPLICATE, REFUSED_TOO_BIG = RefusedCode.TOO_BIG
cdef int HUNG_UP = _HUNG_UP, READABLE = _READABLE, WRITABLE = _WRITABLE
cdef uint8_t READ_DIRECT = _READ_DIRECT, WRITE_DIRECT = _WRITE_DIRECT

include "core/wire/layout.pxi"
include "core/wire/cutting.pxi"
include "core/room/ranks.pxi"
include "core/room/batch.pxi"
include "core/room/ledger.pxi"
include "core/room/dispatch.pxi"
include "server/kernel/socket.pxi"
include "server/kernel/uring.pxi"
include "server/kernel/receive.pxi"
include "server/kernel/fanout.pxi"

assert RANK_FRAME_BYTES == HEAD + RANK_BODY, "deliveries.RANK_FRAME_BYTES and the RANK frame written here differ"
