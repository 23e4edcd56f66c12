/* libFuzzer with a Python inside: each input goes to one function of fuzz_targets; an exception there is a finding.
 *
 * The executable holds the run-time of the sanitizers and of the coverage counters, so that extensions built with
 * -fsanitize=fuzzer-no-link,address,undefined find both in it and nothing has to be preloaded. What is written in
 * Python is counted line by line through a trace function, in counters that libFuzzer looks at besides its own.
 *
 * An input that takes more than FUZZ_INPUT_CPU_S seconds of CPU is a finding. libFuzzer's own clock goes on while the
 * machine does something else.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define COUNTERS (1 << 16)

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static PyObject *target;
static uint32_t before;
static struct itimerval input_most, off;

static void fail(const char *what) {
    if (PyErr_Occurred())
        PyErr_Print();
    fprintf(stderr, "fuzz: %s\n", what);
    fflush(NULL);
    abort();
}

/* Python may be anywhere: nothing but what a signal handler may do. libFuzzer writes the input down at the abort. */
static void slow(int number) {
    static const char words[] = "fuzz: the input took too much CPU\n";
    ssize_t said = write(2, words, sizeof words - 1);
    (void)number, (void)said;
    abort();
}

/* Edges between lines of the package's own files. */
static int count_line(PyObject *unused, PyFrameObject *frame, int what, PyObject *argument) {
    (void)unused, (void)argument;
    if (what != PyTrace_LINE)
        return 0;
    PyCodeObject *code = PyFrame_GetCode(frame);
    const char *file = PyUnicode_AsUTF8(code->co_filename);
    if (file != NULL && strstr(file, "/quotelife/") != NULL) {
        uint32_t here = (uint32_t)PyObject_Hash(code->co_filename) + 2654435761u * (uint32_t)PyFrame_GetLineNumber(frame);
        uint8_t *counter = counters + ((here ^ before) >> 7) % COUNTERS;
        if (*counter < 255)
            ++*counter;
        before = here >> 1;
    }
    Py_DECREF(code);
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    const char *python = getenv("FUZZ_PYTHON"), *name = getenv("FUZZ_TARGET");
    if (python == NULL || name == NULL)
        fail("FUZZ_PYTHON and FUZZ_TARGET must be set; start it by tools/fuzz.py");
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, python);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    if (PyStatus_Exception(status))
        fail(status.err_msg);
    PyConfig_Clear(&config);
    PyObject *module = PyImport_ImportModule("fuzz_targets");
    PyObject *found = module ? PyObject_CallMethod(module, "load", "s", name) : NULL;
    target = found ? PyObject_GetAttrString(found, "run") : NULL;
    PyObject *python_lines = found ? PyObject_GetAttrString(found, "python_lines") : NULL;
    if (target == NULL || python_lines == NULL)
        fail("the target cannot be loaded");
    if (PyObject_IsTrue(python_lines))
        PyEval_SetTrace(count_line, NULL);
    const char *most = getenv("FUZZ_INPUT_CPU_S");
    input_most.it_value.tv_sec = most ? atol(most) : 0;
    if (input_most.it_value.tv_sec <= 0)
        fail("FUZZ_INPUT_CPU_S must be whole seconds of CPU; start it by tools/fuzz.py");
    signal(SIGPROF, slow);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    before = 0;
    setitimer(ITIMER_PROF, &input_most, NULL);
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *result = bytes ? PyObject_CallOneArg(target, bytes) : NULL;
    Py_XDECREF(bytes);
    if (result == NULL)
        fail("the target raised");
    Py_DECREF(result);
    setitimer(ITIMER_PROF, &off, NULL);
    return 0;
}
