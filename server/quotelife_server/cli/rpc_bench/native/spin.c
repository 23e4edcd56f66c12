/* One gRPC call in flight at a time over one connection, by a client that never sleeps: it polls a socket that does not
 * block. HTTP/2 is written by hand, so that it is the same, and costs next to nothing, against every server.
 *
 *   spin TARGET PATH BODY ID_AT ID_PREFIX FIELDS stream|unary WARM SECONDS
 *
 * TARGET is HOST:PORT (an IPv4 address) or unix:PATH; PATH the method; BODY a file with the request message, in which
 * the bytes from ID_AT on are overwritten for each call with ID_PREFIX and 16 hexadecimal digits. FIELDS, such as 2.1.3, leads
 * to a number in the answer that must be 1 for the call to count as quoted. After WARM calls it says "ready", waits for
 * a line, calls for SECONDS and prints a line of JSON; times are nanoseconds. Whatever goes wrong ends it with exit code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };
enum { BODY_MAX = 8192, REPLY_MAX = 65536, SAMPLES_MAX = 4000000 };
/* Nothing is measured by the second: so long nothing has come, nothing will. A busy machine keeps a process from its
 * processor for seconds. */
static const int64_t WINDOW = 1 << 30, CALL_NS_MAX = 20000000000;

static int sock;
static uint8_t in[1 << 17];
static size_t in_from, in_to;
static uint8_t out[BODY_MAX + 1024];
static uint8_t reply[REPLY_MAX];
static size_t reply_length;
static int64_t send_window = 65535, stream_window = 65535, initial_window = 65535, received;
static uint32_t stream_id = 1, header_table = 4096, frame_max = 16384;
static int answered, failed, settled, streaming, indexed;
static uint32_t samples[SAMPLES_MAX];
static char failure[256];

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t read32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t *write32(uint8_t *p, uint32_t value) {
    p[0] = value >> 24, p[1] = value >> 16, p[2] = value >> 8, p[3] = value;
    return p + 4;
}

static uint8_t *frame(uint8_t *p, size_t length, int type, int flags, uint32_t stream) {
    p[0] = length >> 16, p[1] = length >> 8, p[2] = length, p[3] = type, p[4] = flags;
    return write32(p + 5, stream);
}

static void send_all(const uint8_t *from, size_t length) {
    int64_t end_ns = now_ns() + CALL_NS_MAX;
    while (length) {
        ssize_t n = send(sock, from, length, MSG_NOSIGNAL);
        if (n >= 0) {
            from += n, length -= n;
        } else if (errno != EAGAIN && errno != EINTR) {
            die("send: %s", strerror(errno));
        } else if (now_ns() > end_ns) {
            die("the server takes nothing");
        }
    }
}

static void settings(const uint8_t *p, size_t length) {
    for (; length >= 6; p += 6, length -= 6) {
        int id = p[0] << 8 | p[1];
        uint32_t value = read32(p + 2);
        if (id == 1) header_table = value;
        if (id == 4) stream_window += (int64_t)value - initial_window, initial_window = value;
        if (id == 5) frame_max = value;
    }
    uint8_t acknowledgement[9];
    frame(acknowledgement, 0, SETTINGS, ACK, 0);
    send_all(acknowledgement, 9);
    settled = 1;
}

/* A message of our stream: all of it, or what has come of it. */
static void message(const uint8_t *p, size_t length) {
    if (reply_length + length > REPLY_MAX) die("an answer is longer than %d bytes", REPLY_MAX);
    memcpy(reply + reply_length, p, length);
    reply_length += length;
    if (streaming && reply_length >= 5 && reply_length >= 5 + read32(reply + 1)) answered = 1;
}

static void handle(int type, int flags, uint32_t stream, const uint8_t *p, size_t length) {
    if (type == SETTINGS) {
        if (!(flags & ACK)) settings(p, length);
    } else if (type == PING) {
        if (flags & ACK) return;
        uint8_t answer[17];
        memcpy(frame(answer, 8, PING, ACK, 0), p, 8);
        send_all(answer, 17);
    } else if (type == GOAWAY) {
        die("the server sent GOAWAY, error %u", length >= 8 ? read32(p + 4) : 0);
    } else if (type == WINDOW_UPDATE && length == 4) {
        if (!stream) send_window += read32(p);
        else if (stream == stream_id) stream_window += read32(p);
    } else if (type == DATA) {
        received += length;
        if (flags & PADDED) die("padding is not understood here");
        if (stream == stream_id) message(p, length);
    } else if (type == RST_STREAM && stream == stream_id) {
        snprintf(failure, sizeof failure, "the stream was reset, error %u", length >= 4 ? read32(p) : 0);
        answered = failed = 1;
    }
    if ((type == DATA || type == HEADERS) && flags & END_STREAM && stream == stream_id) {
        answered = 1;
        if (streaming) die("the server ended the stream");
    }
}

/* Take what is there, without waiting. */
static void poll_once(void) {
    ssize_t n = recv(sock, in + in_to, sizeof in - in_to, MSG_DONTWAIT);
    if (n == 0) die("the server closed the connection");
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) die("recv: %s", strerror(errno));
        return;
    }
    in_to += n;
    while (in_to - in_from >= 9) {
        const uint8_t *p = in + in_from;
        size_t length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (length > 16384) die("a frame of %zu bytes, more than was allowed", length);
        if (in_to - in_from < 9 + length) break;
        handle(p[3], p[4], read32(p + 5) & 0x7fffffff, p + 9, length);
        in_from += 9 + length;
    }
    if (in_from == in_to) {
        in_from = in_to = 0;
    } else if (in_from > sizeof in / 2) {
        memmove(in, in + in_from, in_to - in_from);
        in_to -= in_from, in_from = 0;
    }
    if (received > WINDOW / 2) {
        uint8_t update[26];
        uint8_t *q = write32(frame(update, 4, WINDOW_UPDATE, 0, 0), received);
        if (streaming) q = write32(frame(q, 4, WINDOW_UPDATE, 0, stream_id), received);
        send_all(update, q - update);
        received = 0;
    }
}

static uint8_t *text(uint8_t *p, const char *value) {
    size_t length = strlen(value);
    if (length > 126) die("%s: too long for a header", value);
    *p++ = length;
    memcpy(p, value, length);
    return p + length;
}

/* HPACK. The first call puts what is not in the static table into the dynamic one, where later calls find it; where the
 * server keeps no such table everything is spelt out. */
static uint8_t *headers(uint8_t *p, const char *path, const char *authority) {
    *p++ = 0x83, *p++ = 0x86; /* :method POST, :scheme http */
    if (indexed) {
        *p++ = 0xc1, *p++ = 0xc0, *p++ = 0xbf, *p++ = 0xbe;
        return p;
    }
    int adding = header_table >= 4096;
    if (!adding) die("a server without a header table of 4,096 bytes is not understood here");
    *p++ = 0x44, p = text(p, path);
    *p++ = 0x41, p = text(p, authority);
    *p++ = 0x40, p = text(p, "te"), p = text(p, "trailers");
    *p++ = 0x5f, p = text(p, "application/grpc");
    indexed = 1;
    return p;
}

/* The number that `fields` leads to in a message; -1 where it is not there. */
static int64_t find(const uint8_t *p, size_t length, const char *fields) {
    const uint8_t *end = p + length;
    char *rest;
    unsigned long wanted = strtoul(fields, &rest, 10);
    while (p < end) {
        uint64_t numbers[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            int type = numbers[0] & 7;
            if (k == 1 && type != 0 && type != 2) {
                p += type == 1 ? 8 : 4;
                break;
            }
            for (int shift = 0; p < end && shift < 64; shift += 7) {
                numbers[k] |= (uint64_t)(*p & 0x7f) << shift;
                if (!(*p++ & 0x80)) break;
            }
        }
        int type = numbers[0] & 7;
        if (type == 0 && numbers[0] >> 3 == wanted && !*rest) return numbers[1];
        if (type == 2) {
            if (numbers[1] > (uint64_t)(end - p)) return -1;
            if (numbers[0] >> 3 == wanted && *rest == '.') return find(p, numbers[1], rest + 1);
            p += numbers[1];
        }
    }
    return -1;
}

static void dial(const char *target) {
    if (!strncmp(target, "unix:", 5)) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(target + 5) >= sizeof address.sun_path) die("%s: too long a path", target);
        strcpy(address.sun_path, target + 5);
        sock = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(sock, (struct sockaddr *)&address, sizeof address)) die("%s: %s", target, strerror(errno));
    } else {
        struct sockaddr_in address = {.sin_family = AF_INET};
        char host[64];
        const char *colon = strrchr(target, ':');
        if (!colon || (size_t)(colon - target) >= sizeof host) die("%s: no HOST:PORT", target);
        memcpy(host, target, colon - target);
        host[colon - target] = 0;
        address.sin_port = htons(atoi(colon + 1));
        if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die("%s: no IPv4 address", target);
        sock = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(sock, (struct sockaddr *)&address, sizeof address)) die("%s: %s", target, strerror(errno));
        int on = 1;
        setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | O_NONBLOCK);
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

int main(int count, char **argument) {
    if (count != 10) die("spin TARGET PATH BODY ID_AT ID_PREFIX FIELDS stream|unary WARM SECONDS");
    const char *target = argument[1], *path = argument[2], *prefix = argument[5], *fields = argument[6];
    static uint8_t body[BODY_MAX + 1];
    FILE *file = fopen(argument[3], "rb");
    if (!file) die("%s: %s", argument[3], strerror(errno));
    size_t length = fread(body, 1, sizeof body, file), id_at = atoi(argument[4]), id_length = strlen(prefix) + 16;
    fclose(file);
    if (length > BODY_MAX || id_at + id_length > length) die("%s: no message with room for an id", argument[3]);
    streaming = !strcmp(argument[7], "stream");
    long warm = atol(argument[8]);
    double seconds = atof(argument[9]);

    dial(target);
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    uint8_t *p = out + sizeof preface - 1;
    memcpy(out, preface, sizeof preface - 1);
    p = frame(p, 12, SETTINGS, 0, 0);
    *p++ = 0, *p++ = 2, p = write32(p, 0);      /* no pushes */
    *p++ = 0, *p++ = 4, p = write32(p, WINDOW); /* of a stream */
    p = write32(frame(p, 4, WINDOW_UPDATE, 0, 0), WINDOW - 65535);
    send_all(out, p - out);
    int64_t end_ns = now_ns() + CALL_NS_MAX;
    while (!settled) {
        poll_once();
        if (now_ns() > end_ns) die("no SETTINGS came within 20 s: the server is silent, or does not speak HTTP/2");
    }
    if (length + 5 > frame_max) die("the message does not fit a frame of the server");
    stream_window = initial_window;

    int64_t stop_ns = INT64_MAX, began_ns = 0, ended_ns = 0;
    long calls = 0, failures = 0, quoted = 0, samples_count = 0, reply_bytes = 0;
    uint64_t number = 0;
    for (;; number++) {
        if (number == (uint64_t)warm) {
            char line[8];
            puts("ready");
            fflush(stdout);
            if (!fgets(line, sizeof line, stdin)) return 1;
            began_ns = now_ns();
            stop_ns = began_ns + (int64_t)(seconds * 1e9);
            calls = failures = quoted = samples_count = reply_bytes = 0;
        }
        char id[80];
        snprintf(id, sizeof id, "%s%016llx", prefix, (unsigned long long)number);
        memcpy(body + id_at, id, id_length);
        p = out;
        if (!streaming || !number) {
            uint8_t *head = p;
            p = headers(p + 9, path, "localhost");
            frame(head, p - head - 9, HEADERS, END_HEADERS, stream_id);
            stream_window = initial_window;
        }
        p = frame(p, length + 5, DATA, streaming ? 0 : END_STREAM, stream_id);
        *p++ = 0;
        p = write32(p, length);
        memcpy(p, body, length);
        p += length;
        answered = failed = 0;
        reply_length = 0;
        failure[0] = 0;
        int64_t start_ns = now_ns(), late_ns = start_ns + CALL_NS_MAX;
        while (send_window < (int64_t)length + 5 || stream_window < (int64_t)length + 5) {
            poll_once();
            if (now_ns() > late_ns) die("the server opens no window");
        }
        send_window -= length + 5;
        stream_window -= length + 5;
        start_ns = now_ns();
        send_all(out, p - out);
        int64_t done_ns;
        do {
            poll_once();
            done_ns = now_ns();
            if (!answered && done_ns > late_ns) die("no answer to call %llu after 20 s", (unsigned long long)number + 1);
        } while (!answered);
        calls++;
        reply_bytes += reply_length;
        if (failed || reply_length < 5 || reply_length != 5 + read32(reply + 1)) {
            failures++;
            if (failures == 1) fprintf(stderr, "a call failed: %s\n", failure[0] ? failure : "no whole message came");
        } else if (find(reply + 5, reply_length - 5, fields) == 1) {
            quoted++;
        }
        if (samples_count < SAMPLES_MAX) {
            int64_t took_ns = done_ns - start_ns;
            samples[samples_count++] = took_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ns;
        }
        if (!streaming) stream_id += 2;
        if (done_ns >= stop_ns) {
            ended_ns = done_ns;
            break;
        }
    }
    qsort(samples, samples_count, sizeof *samples, ascending);
    printf("{\"calls\": %ld, \"failed\": %ld, \"quoted\": %ld, \"reply_bytes\": %ld, \"wall_ns\": %lld, "
           "\"p50_ns\": %u, \"p99_ns\": %u}\n",
           calls, failures, quoted, reply_bytes / calls, (long long)(ended_ns - began_ns), samples[samples_count / 2],
           samples[samples_count * 99 / 100]);
    return 0;
}
