// The floor of fan-out: a server that does nothing but copy a channel's lines to its members.
//
//   limit PORT MS      each line at once (MS = 0), or what came within MS milliseconds in one write per member
//
// It parses only what `fan` sends, trusts it, answers a login with 001 and a JOIN with 366, and gives up on a full socket.
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_CHANNELS = 128, PENDING = 1 << 17, FLUSH_AT = 60000 };

struct channel {
    char name[32];
    int *member, members;
    char *pending;
    int bytes;
    double since;
};
static struct channel channel[MAX_CHANNELS];
static int channels;
static char nick[MAX_FDS][16];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static struct channel *channel_named(const char *name, int n) {
    for (int i = 0; i < channels; i++)
        if (!strncmp(channel[i].name, name, n) && !channel[i].name[n]) return &channel[i];
    if (channels == MAX_CHANNELS || n > 31) exit(1);
    struct channel *c = &channel[channels++];
    memcpy(c->name, name, n);
    c->member = calloc(MAX_FDS, sizeof(int));
    c->pending = malloc(PENDING);
    return c;
}

static void flush(struct channel *c) {
    for (int j = 0; j < c->members; j++) send(c->member[j], c->pending, c->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    c->bytes = 0;
}

static void leave(int f) {
    for (int i = 0; i < channels; i++)
        for (int j = 0; j < channel[i].members; j++)
            if (channel[i].member[j] == f) { channel[i].member[j] = channel[i].member[--channel[i].members]; break; }
    close(f);
}

static void take(int f, char *line, double joined_for) {
    if (!strncmp(line, "NICK ", 5)) strncpy(nick[f], line + 5, 15);
    else if (!strncmp(line, "USER", 4)) write(f, ":s 001 x :hi\r\n", 14);
    else if (!strncmp(line, "JOIN ", 5)) {
        struct channel *c = channel_named(line + 5, strlen(line + 5));
        c->member[c->members++] = f;
        write(f, ":s 366 x #c :End\r\n", 18);
    } else if (!strncmp(line, "PRIVMSG ", 8)) {
        char *space = strchr(line + 8, ' ');
        if (!space) return;
        struct channel *c = channel_named(line + 8, space - line - 8);
        if (!c->bytes) c->since = now();
        c->bytes += sprintf(c->pending + c->bytes, ":%s!%s@%s.tmi.twitch.tv %s\r\n", nick[f], nick[f], nick[f], line);
        if (joined_for == 0 || c->bytes > FLUSH_AT) flush(c);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "limit PORT MS\n"); return 2; }
    double joined_for = atof(argv[2]) / 1000;
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(s, (void *)&a, sizeof a) || listen(s, 4096)) { perror("listen"); return 1; }
    fcntl(s, F_SETFL, O_NONBLOCK);
    int ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = s}, ev[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
    static char b[65536];
    while (1) {
        int wait = -1;
        double t = now();
        for (int i = 0; i < channels; i++)
            if (channel[i].bytes) {
                double rest = channel[i].since + joined_for - t;
                int ms = rest < 0 ? 0 : (int)(rest * 1000) + 1;
                if (wait < 0 || ms < wait) wait = ms;
            }
        int k = epoll_wait(ep, ev, 512, wait);
        for (int i = 0; i < k; i++) {
            int f = ev[i].data.fd, n;
            if (f == s) {
                while ((n = accept4(s, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(n, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct epoll_event in = {.events = EPOLLIN, .data.fd = n};
                    epoll_ctl(ep, EPOLL_CTL_ADD, n, &in);
                }
                continue;
            }
            n = recv(f, b, sizeof b - 1, 0);
            if (n <= 0) { leave(f); continue; }
            b[n] = 0;
            for (char *p = b, *q; (q = strchr(p, '\n')); p = q + 1) {
                *q = 0;
                if (q > p && q[-1] == '\r') q[-1] = 0;
                take(f, p, joined_for);
            }
        }
        for (int i = 0; i < channels; i++)
            if (channel[i].bytes && now() - channel[i].since >= joined_for) flush(&channel[i]);
    }
}
