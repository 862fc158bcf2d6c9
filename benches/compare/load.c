/* The load for rivals that `test_client bench` cannot speak to: one thread, epoll, kept connections, a closed loop.
 *
 *   load PROTOCOL PORT CLIENTS SECONDS BYTES
 *
 * Every client sends its next message when the last one was acknowledged. It prints one line of JSON. `run` compiles it
 * and starts it. It is as plain as test_client's own load, so that the clients of all systems cost about the same.
 *
 *   messages   POST /messages with {"message": ...}, answered by 201 (ours, to compare this client with test_client)
 *   redis      RPUSH log MESSAGE and WAIT 2 1000, sent together; done when WAIT says that both replicas have it
 *   etcd       POST /v3/kv/put with JSON and base64, a new key each time
 *   etcd-grpc  etcdserverpb.KV/Put, the clients are streams of one connection, a new key each time
 *   nats       a JetStream publication, done when the stream's acknowledgement with its sequence number is there
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 4096, BYTES_MIN = 16, BYTES_MAX = 8192, IN_BYTES = 65536, OUT_BYTES = 1 << 20, SLOTS = 8192 };

/* How long it waits for the last answers. */
static const double DRAIN_SECONDS = 2.0;

struct connection {
    int socket;
    int number;
    double begun;
    size_t in_bytes;
    char in[IN_BYTES];
};

static const char *protocol;
static int port, clients;
static size_t message_bytes;
static double ends;
static uint64_t next_number, tag;
static uint32_t *latencies;
static size_t done, room;
static uint64_t failed;
static char first_failure[200];

/* For etcd-grpc: when each stream began, and how far it is. A server may reset a stream that it ended. */
static double stream_begun[SLOTS];
static enum { CLOSED, OPEN, ANSWERED } streams[SLOTS];
static uint32_t next_stream = 1;
static int in_flight;

/* The bytes to send on the shared connection. */
static char out[OUT_BYTES];
static size_t out_bytes;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void fail(const char *what, size_t bytes) {
    if (failed++ == 0) {
        size_t kept = 0;
        for (size_t at = 0; at < bytes && kept < sizeof first_failure - 1; at++)
            first_failure[kept++] = (what[at] < ' ' || what[at] == '"' || what[at] == '\\') ? ' ' : what[at];
    }
}

static void count(double begun) {
    double ended = now();
    if (ended > ends)
        return;
    if (done == room) {
        room = room ? room * 2 : 1 << 16;
        latencies = realloc(latencies, room * sizeof *latencies);
        if (!latencies)
            die("memory");
    }
    latencies[done++] = (uint32_t)((ended - begun) * 1e6);
}

/* A unique text. */
static void write_message(char *text) {
    memset(text, 'x', message_bytes);
    char number[32];
    int length = snprintf(number, sizeof number, "%015llu ", (unsigned long long)next_number++);
    memcpy(text, number, (size_t)length);
}

static size_t write_key(char *key) {
    return (size_t)sprintf(key, "log/%08llx/%010llu", (unsigned long long)tag, (unsigned long long)next_number);
}

static size_t write_base64(char *to, const char *from, size_t bytes) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = 0;
    for (size_t at = 0; at < bytes; at += 3) {
        uint32_t group = 0;
        for (size_t byte = 0; byte < 3; byte++)
            group = group << 8 | (at + byte < bytes ? (unsigned char)from[at + byte] : 0);
        for (int letter = 0; letter < 4; letter++) {
            int is_padding = at + (size_t)letter > bytes;
            to[length++] = is_padding ? '=' : letters[group >> (18 - 6 * letter) & 63];
        }
    }
    return length;
}

/* Requests. */

static size_t write_http(char *to, const char *path, const char *body, size_t body_bytes) {
    size_t head = (size_t)sprintf(to,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", path,
        port, body_bytes);
    memcpy(to + head, body, body_bytes);
    return head + body_bytes;
}

static size_t write_request(char *to, int client) {
    char text[BYTES_MAX + 1], key[64], body[2 * BYTES_MAX + 256];
    size_t key_bytes = write_key(key), length;
    write_message(text);
    if (!strcmp(protocol, "redis")) {
        length = (size_t)sprintf(to, "*3\r\n$5\r\nRPUSH\r\n$3\r\nlog\r\n$%zu\r\n", message_bytes);
        memcpy(to + length, text, message_bytes);
        length += message_bytes;
        return length + (size_t)sprintf(to + length, "\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1000\r\n");
    }
    if (!strcmp(protocol, "nats")) {
        unsigned long long inbox = tag;
        length = (size_t)sprintf(to, "PUB log.all _INBOX.%llx.%d %zu\r\n", inbox, client, message_bytes);
        memcpy(to + length, text, message_bytes);
        length += message_bytes;
        return length + (size_t)sprintf(to + length, "\r\n");
    }
    if (!strcmp(protocol, "etcd")) {
        length = (size_t)sprintf(body, "{\"key\":\"");
        length += write_base64(body + length, key, key_bytes);
        length += (size_t)sprintf(body + length, "\",\"value\":\"");
        length += write_base64(body + length, text, message_bytes);
        length += (size_t)sprintf(body + length, "\"}");
        return write_http(to, "/v3/kv/put", body, length);
    }
    text[message_bytes] = 0;
    length = (size_t)sprintf(body, "{\"message\":\"%s\"}", text);
    return write_http(to, "/messages", body, length);
}

/* Answers: how many bytes one takes, 0 if it is not complete yet. `*is_done` says that it ends a write. */

static size_t read_redis(const char *in, size_t bytes, int *is_done) {
    const char *first = memmem(in, bytes, "\r\n", 2);
    if (!first)
        return 0;
    const char *second = memmem(first + 2, bytes - (size_t)(first + 2 - in), "\r\n", 2);
    if (!second)
        return 0;
    *is_done = 1;
    size_t length = (size_t)(second + 2 - in);
    if (in[0] != ':' || first[2] != ':' || atoi(first + 3) != 2)
        fail(in, length);
    return length;
}

static size_t read_http(const char *in, size_t bytes, int *is_done) {
    const char *end = memmem(in, bytes, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end + 4 - in), length = 0;
    for (const char *line = in; line < end; line++)
        if (*line == '\n' && !strncasecmp(line + 1, "content-length:", 15)) {
            length = head + strtoul(line + 16, 0, 10);
            break;
        }
    if (!length) {
        const char *last = memmem(end, bytes - (size_t)(end - in), "\r\n0\r\n\r\n", 7);
        if (!last)
            return 0;
        length = (size_t)(last + 7 - in);
    }
    if (length > bytes)
        return 0;
    *is_done = 1;
    if (strncmp(in + 9, "20", 2))
        fail(in, length);
    return length;
}

static size_t read_nats(struct connection *connection, int *is_done) {
    const char *in = connection->in;
    const char *end = memmem(in, connection->in_bytes, "\r\n", 2);
    if (!end)
        return 0;
    size_t length = (size_t)(end + 2 - in);
    if (!strncmp(in, "PING", 4) && write(connection->socket, "PONG\r\n", 6) != 6)
        die("answering a PING");
    if (!strncmp(in, "-ERR", 4))
        fail(in, length);
    if (strncmp(in, "MSG ", 4))
        return length;
    const char *size = end;
    while (size[-1] != ' ')
        size--;
    size_t whole = length + strtoul(size, 0, 10) + 2;
    if (whole > connection->in_bytes)
        return 0;
    *is_done = 1;
    if (!memmem(in + length, whole - length, "\"seq\":", 6))
        fail(in + length, whole - length);
    return whole;
}

static size_t read_answer(struct connection *connection, int *is_done) {
    if (!strcmp(protocol, "redis"))
        return read_redis(connection->in, connection->in_bytes, is_done);
    if (!strcmp(protocol, "nats"))
        return read_nats(connection, is_done);
    return read_http(connection->in, connection->in_bytes, is_done);
}

/* Connections. */

static int open_socket(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int handle = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (handle < 0 || connect(handle, (struct sockaddr *)&address, sizeof address))
        die("connecting");
    setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return handle;
}

/* Small requests on sockets with nothing in flight: they always fit. */
static void send_all(int handle, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(handle, bytes, length, MSG_NOSIGNAL);
        if (sent < 0)
            die("sending");
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void begin(struct connection *connection) {
    static char request[4 * BYTES_MAX];
    size_t length = write_request(request, connection->number);
    connection->begun = now();
    send_all(connection->socket, request, length);
}

static void greet(struct connection *connection) {
    if (strcmp(protocol, "nats"))
        return;
    char hello[200];
    int length = sprintf(hello, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB _INBOX.%llx.%d 1\r\n",
        (unsigned long long)tag, connection->number);
    send_all(connection->socket, hello, (size_t)length);
}

static void receive(struct connection *connection) {
    char *free_in = connection->in + connection->in_bytes;
    ssize_t got = recv(connection->socket, free_in, IN_BYTES - connection->in_bytes, 0);
    if (got <= 0)
        die("the server closed a connection");
    connection->in_bytes += (size_t)got;
}

static void drop(struct connection *connection, size_t bytes) {
    connection->in_bytes -= bytes;
    memmove(connection->in, connection->in + bytes, connection->in_bytes);
}

static void go_on(struct connection *connection) {
    receive(connection);
    for (;;) {
        int is_done = 0;
        uint64_t failed_before = failed;
        size_t length = read_answer(connection, &is_done);
        if (!length)
            return;
        drop(connection, length);
        if (!is_done)
            continue;
        if (failed == failed_before)
            count(connection->begun);
        if (now() < ends)
            begin(connection);
        else
            in_flight--;
    }
}

/* gRPC, as much HTTP/2 as that takes. */

static void put(const void *bytes, size_t length) {
    if (out_bytes + length > OUT_BYTES)
        die("too much to send at once");
    memcpy(out + out_bytes, bytes, length);
    out_bytes += length;
}

static void put_frame(uint8_t kind, uint8_t flags, uint32_t stream, const void *payload, size_t length) {
    unsigned char head[9] = {(unsigned char)(length >> 16), (unsigned char)(length >> 8), (unsigned char)length, kind,
        flags, (unsigned char)(stream >> 24), (unsigned char)(stream >> 16), (unsigned char)(stream >> 8),
        (unsigned char)stream};
    put(head, sizeof head);
    put(payload, length);
}

static size_t write_varint(unsigned char *to, size_t number) {
    size_t length = 0;
    for (; number > 127; number >>= 7)
        to[length++] = (unsigned char)(number | 128);
    to[length++] = (unsigned char)number;
    return length;
}

static size_t write_text(unsigned char *to, const char *text) {
    to[0] = (unsigned char)strlen(text);
    memcpy(to + 1, text, to[0]);
    return 1U + to[0];
}

static void begin_stream(void) {
    unsigned char head[200] = {0x83, 0x86}, body[BYTES_MAX + 128];
    char key[64], authority[32];
    size_t length = 2, key_bytes = write_key(key), at = 5;
    sprintf(authority, "127.0.0.1:%d", port);
    head[length++] = 0x04;
    length += write_text(head + length, "/etcdserverpb.KV/Put");
    head[length++] = 0x01;
    length += write_text(head + length, authority);
    head[length++] = 0x0f;
    head[length++] = 0x10;
    length += write_text(head + length, "application/grpc");
    head[length++] = 0x00;
    length += write_text(head + length, "te");
    length += write_text(head + length, "trailers");
    body[at++] = 0x0a;
    at += write_varint(body + at, key_bytes);
    memcpy(body + at, key, key_bytes);
    at += key_bytes;
    body[at++] = 0x12;
    at += write_varint(body + at, message_bytes);
    write_message((char *)body + at);
    at += message_bytes;
    uint32_t size = htonl((uint32_t)(at - 5));
    body[0] = 0;
    memcpy(body + 1, &size, 4);
    stream_begun[next_stream / 2 % SLOTS] = now();
    streams[next_stream / 2 % SLOTS] = OPEN;
    put_frame(1, 4, next_stream, head, length);
    put_frame(0, 1, next_stream, body, at);
    next_stream += 2;
}

static void end_stream(uint32_t stream) {
    uint32_t slot = stream / 2 % SLOTS;
    if (streams[slot] == CLOSED)
        return;
    if (streams[slot] == ANSWERED)
        count(stream_begun[slot]);
    else
        fail("a stream ended without an answer", 32);
    streams[slot] = CLOSED;
    if (now() < ends)
        begin_stream();
    else
        in_flight--;
}

static void take_frame(const unsigned char *frame, size_t length) {
    uint8_t kind = frame[3], flags = frame[4];
    uint32_t stream;
    memcpy(&stream, frame + 5, 4);
    stream = ntohl(stream) & 0x7fffffff;
    if (kind == 7)
        die("the server says GOAWAY");
    if (kind == 4 && !(flags & 1))
        put_frame(4, 1, 0, "", 0);
    if (kind == 6 && !(flags & 1))
        put_frame(6, 1, 0, frame + 9, length);
    if (kind == 0 && streams[stream / 2 % SLOTS] == OPEN)
        streams[stream / 2 % SLOTS] = ANSWERED;
    if (kind == 3 || ((kind == 0 || kind == 1) && flags & 1))
        end_stream(stream);
}

static void go_on_shared(struct connection *connection) {
    receive(connection);
    size_t at = 0;
    while (connection->in_bytes - at >= 9) {
        const unsigned char *frame = (unsigned char *)connection->in + at;
        size_t length = (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
        if (connection->in_bytes - at < 9 + length)
            break;
        take_frame(frame, length);
        at += 9 + length;
    }
    drop(connection, at);
}

static void greet_shared(void) {
    put("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(4, 0, 0, "", 0);
    uint32_t window = htonl(0x7fff0000 - 65535);
    put_frame(8, 0, 0, &window, 4);
}

static void flush(struct connection *connection) {
    send_all(connection->socket, out, out_bytes);
    out_bytes = 0;
}

/* The program. */

static int order(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double percentile(double share) {
    return done ? latencies[(size_t)((double)(done - 1) * share)] / 1e3 : 0;
}

int main(int arguments, char **argument) {
    if (arguments != 6) {
        fprintf(stderr, "load PROTOCOL PORT CLIENTS SECONDS BYTES\n");
        return 2;
    }
    protocol = argument[1];
    port = atoi(argument[2]);
    clients = atoi(argument[3]);
    double seconds = atof(argument[4]);
    message_bytes = (size_t)atoi(argument[5]);
    int is_size = message_bytes >= BYTES_MIN && message_bytes <= BYTES_MAX;
    if (clients < 1 || clients > CLIENTS_MAX || !is_size || seconds <= 0) {
        fprintf(stderr, "load: 1 to %d clients, messages of %d to %d bytes\n", CLIENTS_MAX, BYTES_MIN, BYTES_MAX);
        return 2;
    }
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    tag = (uint64_t)(time.tv_sec * 1000 + time.tv_nsec / 1000000) & 0xffffffff;
    int is_shared = !strcmp(protocol, "etcd-grpc"), connections = is_shared ? 1 : clients, poll = epoll_create1(0);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (!all || poll < 0)
        die("starting");
    for (int number = 0; number < connections; number++) {
        all[number].number = number;
        all[number].socket = open_socket();
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[number]};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, all[number].socket, &event))
            die("epoll");
        greet(&all[number]);
    }
    double begun = now();
    ends = begun + seconds;
    in_flight = clients;
    if (is_shared)
        greet_shared();
    for (int client = 0; client < clients; client++) {
        if (is_shared)
            begin_stream();
        else
            begin(&all[client]);
    }
    if (is_shared)
        flush(&all[0]);
    while (in_flight > 0 && now() < ends + DRAIN_SECONDS) {
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, 100);
        for (int number = 0; number < ready; number++) {
            struct connection *connection = events[number].data.ptr;
            if (is_shared) {
                go_on_shared(connection);
                flush(connection);
            } else {
                go_on(connection);
            }
        }
    }
    qsort(latencies, done, sizeof *latencies, order);
    printf("{\"writes\": %zu, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"failed\": %llu, "
           "\"unanswered\": %d, \"first_failure\": \"%s\"}\n",
        done, seconds, percentile(0.5), percentile(0.99), (unsigned long long)failed, in_flight, first_failure);
    return 0;
}
