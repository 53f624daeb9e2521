// A server that copies a channel's lines to its members, without what they say: sockets, lines, channels. One thread.
//
// Who includes it defines `take` (one line of a member, without its end) and `tell` (write to a member now), sets
// `joined_for`, and calls `serve`. What `publish` collects of a channel goes out together, `joined_for` after the first.
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 20000, MAX_CHANNELS = 128, PENDING = 1 << 17, FLUSH_AT = 60000, LINE = 4096 };

struct channel {
    char name[64], *pending;
    int *member, members, bytes;
    double since;
};
static struct channel channel[MAX_CHANNELS];
static int channels;
static char nick[MAX_FDS][32], rest[MAX_FDS][LINE];
static int rested[MAX_FDS];
static double joined_for;   // seconds; 0: each line at once
static volatile sig_atomic_t stop;

static void take(int f, char *line);
static void tell(int f, const char *text, int n);

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static struct channel *channel_named(const char *name) {
    for (int i = 0; i < channels; i++)
        if (!strcmp(channel[i].name, name)) return &channel[i];
    if (channels == MAX_CHANNELS) { fprintf(stderr, "more than %d channels\n", MAX_CHANNELS); exit(1); }
    struct channel *c = &channel[channels++];
    snprintf(c->name, sizeof c->name, "%s", name);
    c->member = calloc(MAX_FDS, sizeof(int));
    c->pending = malloc(PENDING);
    return c;
}

static void flush(struct channel *c) {
    for (int j = 0; j < c->members; j++) tell(c->member[j], c->pending, c->bytes);
    c->bytes = 0;
}

// To all members of a channel: at most 2 * LINE bytes.
static void publish(struct channel *c, const char *text, int n) {
    if (!c->bytes) c->since = now();
    memcpy(c->pending + c->bytes, text, n);
    c->bytes += n;
    if (joined_for == 0 || c->bytes > FLUSH_AT) flush(c);
}

static void join(struct channel *c, int f) { c->member[c->members++] = f; }

static void part(struct channel *c, int f) {
    for (int j = 0; j < c->members; j++)
        if (c->member[j] == f) { c->member[j] = c->member[--c->members]; return; }
}

static void leave(int f) {
    for (int i = 0; i < channels; i++) part(&channel[i], f);
    rested[f] = 0;
    close(f);
}

static void accept_all(int s, int ep) {
    int n, one = 1;
    while ((n = accept4(s, 0, 0, SOCK_NONBLOCK)) >= 0) {
        if (n >= MAX_FDS) { close(n); continue; }
        setsockopt(n, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event in = {.events = EPOLLIN, .data.fd = n};
        epoll_ctl(ep, EPOLL_CTL_ADD, n, &in);
    }
}

static void receive(int f) {
    static char b[65536];
    memcpy(b, rest[f], rested[f]);
    int n = recv(f, b + rested[f], sizeof b - LINE - 1, 0);
    if (n <= 0) { leave(f); return; }
    n += rested[f];
    b[n] = 0;
    char *p = b, *q;
    for (; (q = memchr(p, '\n', b + n - p)); p = q + 1) {
        *q = 0;
        if (q > p && q[-1] == '\r') q[-1] = 0;
        if (q - p < LINE) take(f, p);   // a longer one is nobody's
    }
    rested[f] = b + n - p < LINE ? b + n - p : 0;
    memcpy(rest[f], p, rested[f]);
}

// Milliseconds until something is due; -1: nothing waits.
static int next_due(void) {
    int wait = -1;
    double t = now();
    for (int i = 0; i < channels; i++)
        if (channel[i].bytes) {
            double left = channel[i].since + joined_for - t;
            int ms = left < 0 ? 0 : (int)(left * 1000) + 1;
            if (wait < 0 || ms < wait) wait = ms;
        }
    return wait;
}

// Until `stop`. Returns the exit status.
static int serve(int port) {
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(s, (void *)&a, sizeof a) || listen(s, 4096)) { perror("listen"); return 1; }
    fcntl(s, F_SETFL, O_NONBLOCK);
    int ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = s}, ev[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
    while (!stop) {
        int k = epoll_wait(ep, ev, 512, next_due());
        for (int i = 0; i < k; i++)
            if (ev[i].data.fd == s) accept_all(s, ep);
            else receive(ev[i].data.fd);
        for (int i = 0; i < channels; i++)
            if (channel[i].bytes && now() - channel[i].since >= joined_for) flush(&channel[i]);
    }
    return 0;
}
