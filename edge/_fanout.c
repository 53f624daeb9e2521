// The compiled form of edge/fanout.py; its contract is there.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <errno.h>
#include <sys/socket.h>

#ifdef MSG_NOSIGNAL
#define FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#else
#define FLAGS MSG_DONTWAIT  // Python ignores SIGPIPE
#endif

static PyObject *busy;
static PyTypeObject *slotted;  // the class whose `busy` is a slot, and where: to read it there takes a third of the time
static Py_ssize_t slot;

static void find_slot(PyTypeObject *type) {
    PyObject *member = PyObject_GetAttr((PyObject *)type, busy);
    if (member && Py_IS_TYPE(member, &PyMemberDescr_Type)) {
        PyMemberDef *found = ((PyMemberDescrObject *)member)->d_member;
        if (found->type == T_OBJECT_EX) {
            slot = found->offset;
            Py_XSETREF(slotted, (PyTypeObject *)Py_NewRef(type));
        }
    }
    PyErr_Clear();
    Py_XDECREF(member);
}

// 1: nothing is in its way, 0: something is, -1: an exception is set.
static int is_free(PyObject *stream) {
    if (Py_IS_TYPE(stream, slotted)) {
        PyObject *value = *(PyObject **)((char *)stream + slot);
        if (value == Py_False) return 1;
        if (value == Py_True) return 0;
    }
    else find_slot(Py_TYPE(stream));
    PyObject *answer = PyObject_GetAttr(stream, busy);
    if (!answer) return -1;
    int yes = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return yes < 0 ? -1 : !yes;
}

static PyObject *fan_send(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 5 || !PyList_Check(args[1]) || !PyBytes_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError, "send(fds: array('i'), streams: list, start: int, stop: int, data: bytes)");
        return NULL;
    }
    PyObject *streams = args[1], *left = NULL;
    Py_ssize_t start = PyLong_AsSsize_t(args[2]), stop = PyLong_AsSsize_t(args[3]);
    if (PyErr_Occurred()) return NULL;
    const char *data = PyBytes_AS_STRING(args[4]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[4]);
    Py_buffer fds;
    if (PyObject_GetBuffer(args[0], &fds, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) < 0) return NULL;
    if (fds.itemsize != sizeof(int) || !fds.format || fds.format[0] != 'i') {
        PyErr_SetString(PyExc_TypeError, "send: fds must be an array('i')");
        goto done;
    }
    if (start < 0 || stop < start || stop > fds.len / (Py_ssize_t)sizeof(int) || stop > PyList_GET_SIZE(streams)) {
        PyErr_SetString(PyExc_IndexError, "send: start or stop is outside of the arrays");
        goto done;
    }
    Py_ssize_t members = stop - start;
    // A copy: asking a stream runs its code, which could change what we were handed.
    int *fd = PyMem_Malloc((members + 1) * sizeof(int));
    Py_ssize_t *taken = PyMem_Calloc(members + 1, sizeof(Py_ssize_t));
    if (!fd || !taken) {
        PyErr_NoMemory();
        goto clean;
    }
    for (Py_ssize_t i = 0; i < members; i++) {
        fd[i] = ((const int *)fds.buf)[start + i];
        if (fd[i] < 0 || start + i >= PyList_GET_SIZE(streams)) {
            fd[i] = -1;
            continue;
        }
        PyObject *stream = Py_NewRef(PyList_GET_ITEM(streams, start + i));
        int free_now = is_free(stream);
        Py_DECREF(stream);
        if (free_now < 0) goto clean;
        if (!free_now) fd[i] = -1;
    }
    // Only the loop's thread, which is in here, closes users' sockets: the numbers stay theirs.
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < members; i++) {
        if (fd[i] < 0) continue;
        ssize_t n;
        do n = send(fd[i], data, size, FLAGS); while (n < 0 && errno == EINTR);
        taken[i] = n < 0 ? 0 : n;
    }
    Py_END_ALLOW_THREADS
    left = PyList_New(0);
    for (Py_ssize_t i = 0; left && i < members; i++) {
        if (fd[i] >= 0 && taken[i] == size) continue;
        PyObject *pair = Py_BuildValue("(nn)", start + i, taken[i]);
        if (!pair || PyList_Append(left, pair) < 0) Py_CLEAR(left);
        Py_XDECREF(pair);
    }
clean:
    PyMem_Free(fd);
    PyMem_Free(taken);
done:
    PyBuffer_Release(&fds);
    return left;
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)(void (*)(void))fan_send, METH_FASTCALL, "See edge/fanout.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "_fanout", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__fanout(void) {
    busy = PyUnicode_InternFromString("busy");
    if (!busy) return NULL;
    return PyModule_Create(&module);
}
