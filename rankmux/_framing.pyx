# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled twin of the hot loops: what runs once for each frame or each receiver, as C loops over bytes.

The parts are `.pxi` files beside the Python modules that define their behaviour; `include` below pastes them in here, so
that all of them are one C file and call one another without Python. The pure definition's docstring says what each does.

Reading this without having seen Cython: it is Python with C types.

- `cdef` declares a C variable, function or struct; `cimport` takes over declarations of the C library; `<T> x` is a
  cast. Plain `def` and `class` are what Python sees.
- `boundscheck=False`: an index out of range raises nothing, it reads or overwrites other memory. Every index here must
  be known to be right. `wraparound=False`: -1 is not the last item, but memory before the first.
- `const uint8_t[::1] data` is a memoryview: any object with contiguous bytes, whose memory is read in place.
- `(int, Py_ssize_t) f(...)` returns a ctuple: several C values, without a tuple object.
- `before[0]` is C's `*before`: the variable that the pointer points to, so that a function can change its caller's.
- `nogil` marks code that touches no Python object; inside `with nogil:` other threads run meanwhile.
- Behind a C function, `except -1` names the value that stands for an exception (`except? 0`: that may), `noexcept` says
  that it raises none.

What a turn lays out for the member at rank r, and how `fanout.pxi` sends it:

    executes  [ frames of rank 0 | of rank 2 | of rank 5 ]     one buffer for all; `steps` are the ends of its parts
                |<-- prefix for r = 3 ------>|
    splices         ^frame     ^frame                          frames for r alone, each at its place in the prefix
    sent      [ prefix with its splices | RANK | changes, for those who watch | answers ]

Each part is sent from where it lies; nothing is copied per member. `recv` in `receive.pxi` and the sends in `sends.pxi`
take most of the time, once per member and turn.
No Python object is made per receiver or per result; only exceptions (short writes, errors, odd frames) come back as
objects, and whatever is odd or rare is handed to the Python code that has the words for it.
"""

cimport cython
from cpython.array cimport array, resize
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from cpython.type cimport PyType_GenericAlloc
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memchr, memcpy, memset, strlen

from .core.room.encoding import check_run, encode, runs
from .core.room.refusals import overload, refusal
from .core.room.snapshot import UNTOLD as SNAPSHOT_UNTOLD
from .core.wire import codes, layouts
from .core.wire.codes import CommandFlag, FrameType, RefusedCode, Status, Target
from .core.wire.frames import Leave, Pong, SetBaton, Who, Yield
from .core.wire.violations import bad_length, member_frame, observer_frame
from .errors import ProtocolViolation
from .server.connections.states import GREETING, HANDSHAKE, JOINING, MEMBER
from .server.sockets import descriptors
from .server.sockets.transport import NON_BLOCKING_STREAM as NON_BLOCKING, PlainSocket
from .system import reactor

# The numbers of the wire and of the tables, taken from where they are defined, as C integers.
cdef uint32_t FRAME_OVERHEAD = codes.FRAME_OVERHEAD
cdef uint8_t VERSION = codes.VERSION, NAME_MAX = codes.NAME_MAX_BYTES
cdef uint8_t HELLO = FrameType.HELLO, COMMAND = FrameType.COMMAND, RESULT = FrameType.RESULT
cdef uint8_t EXECUTE = FrameType.EXECUTE, RANK = FrameType.RANK, ACCEPTED = FrameType.ACCEPTED
cdef uint8_t ROUTED = FrameType.ROUTED, DONE = FrameType.DONE, LEAVE_TYPE = FrameType.LEAVE
cdef uint8_t ALL = Target.ALL, ONE = Target.ONE, NEXT = Target.NEXT, LEAST = Target.LEAST, SET = Target.SET
cdef uint8_t RESULTS = CommandFlag.RESULTS, QUIET = CommandFlag.QUIET, TIED = CommandFlag.TIED
cdef uint8_t REJECTED = Status.REJECTED, EXPIRED = Status.EXPIRED, LEFT = Status.LEFT, PART = Status.PART
cdef uint8_t CANCELLED = Status.CANCELLED
cdef uint8_t RESULT_WANTED = codes.ExecuteFlag.RESULT_WANTED
cdef uint8_t UNTOLD = SNAPSHOT_UNTOLD
cdef int NO_TARGET = RefusedCode.NO_TARGET, NOT_LOWER = RefusedCode.NOT_LOWER
cdef int NO_SUCH_RANK = RefusedCode.NO_SUCH_RANK, BUSY = RefusedCode.BUSY
cdef int NOT_FIRST = RefusedCode.NOT_FIRST
cdef int DUPLICATE = RefusedCode.DUPLICATE, REFUSED_TOO_BIG = RefusedCode.TOO_BIG, ABSENT = RefusedCode.ABSENT
cdef int HUNG_UP = reactor.HUNG_UP, READABLE = reactor.READABLE, WRITABLE = reactor.WRITABLE
cdef uint8_t READ_DIRECT = descriptors.READ_DIRECT, WRITE_DIRECT = descriptors.WRITE_DIRECT
cdef uint8_t WATCHES = descriptors.WATCHES
cdef int NON_BLOCKING_STREAM = NON_BLOCKING

cdef enum:
    OTHER_WORK = 8  # of frames, as in batch.py
    WAITING_WORK = 4
    BATON_WRITE = 255
cdef long long UNLIMITED = 1 << 62
cdef uint64_t OBSERVERS = <uint64_t> 1 << 63  # as in batch.py

include "core/wire/layout.pxi"
include "core/client/runs.pxi"
include "core/greeting.pxi"
include "core/room/ranks.pxi"
include "core/room/turn.pxi"
include "core/room/batch.pxi"
include "core/room/ledger.pxi"
include "core/room/dispatch.pxi"
include "server/connections/connection.pxi"
include "server/kernel/receive.pxi"
include "server/kernel/accept.pxi"
include "server/kernel/uring.pxi"
include "server/kernel/sends.pxi"
include "server/kernel/fanout.pxi"
include "server/kernel/crowd.pxi"
