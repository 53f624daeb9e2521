// The least server there can be for the load: it lets everybody in and copies each line to all members of its channel.
//
//   calibrate PORT MS [LOSE]
//
//   MS: lines that come within so many milliseconds go out in one write (0: each at once)
//   LOSE: of each member's writes, one in so many is left out; shows that the load notices (0: none)
//
// It trusts its clients, knows no limits, and answers what the load waits for: 001, 366, ROOMSTATE, USERSTATE with an id,
// PART. Lines look as an edge writes them for readers with tags. A full socket loses what does not fit, and says how much
// of that there was when it ends (SIGTERM).
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

enum { MAX_FDS = 20000, MAX_CHANNELS = 64, PENDING = 1 << 20, LINE = 4096 };

struct channel {
    char name[64], *pending;
    int *member, members, bytes;
    double since;
};
static struct channel channel[MAX_CHANNELS];
static int channels;
static char nick[MAX_FDS][32], rest[MAX_FDS][LINE];
static int rested[MAX_FDS];
static long messages, lost_writes, writes, lose;
static volatile sig_atomic_t stop;

static void stopping(int s) { (void)s; stop = 1; }

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

static void tell(int f, const char *text, int n) {
    if (send(f, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) != n) lost_writes++;
}

static void flush(struct channel *c) {
    for (int j = 0; j < c->members; j++)
        if (!lose || ++writes % lose) tell(c->member[j], c->pending, c->bytes);
    c->bytes = 0;
}

static void part(struct channel *c, int f) {
    for (int j = 0; j < c->members; j++)
        if (c->member[j] == f) { c->member[j] = c->member[--c->members]; return; }
}

static void leave(int f) {
    for (int i = 0; i < channels; i++) part(&channel[i], f);
    rested[f] = 0;
    close(f);
}

static void take(int f, char *line, double rests) {
    char out[LINE * 2];
    if (!strncmp(line, "NICK ", 5)) {
        snprintf(nick[f], sizeof nick[f], "%s", line + 5);
        tell(f, out, sprintf(out, ":fanout 001 %s :hi\r\n", nick[f]));
    } else if (!strncmp(line, "JOIN ", 5)) {
        for (char *save, *name = strtok_r(line + 5, ",", &save); name; name = strtok_r(0, ",", &save)) {
            struct channel *c = channel_named(name);
            c->member[c->members++] = f;
            tell(f, out, sprintf(out, ":fanout 366 %s %s :End\r\n:fanout ROOMSTATE %s\r\n", nick[f], name, name));
        }
    } else if (!strncmp(line, "PART ", 5)) {
        part(channel_named(line + 5), f);
        tell(f, out, sprintf(out, ":%s PART %s\r\n", nick[f], line + 5));
    } else if (!strncmp(line, "PRIVMSG ", 8)) {
        char *space = strchr(line + 8, ' ');
        if (!space) return;
        *space = 0;
        struct channel *c = channel_named(line + 8);
        *space = ' ';
        if (!c->bytes) c->since = now();
        messages++;
        c->bytes += sprintf(c->pending + c->bytes,
            "@badge-info=;badges=;color=#1E90FF;display-name=%s;emotes=;first-msg=0;flags=;"
            "id=b34ccfc7-4977-403a-8a94-%012lx;mod=0;returning-chatter=0;room-id=1337;subscriber=0;"
            "tmi-sent-ts=1507246572675;turbo=0;user-id=1337;user-type= :%s!%s@%s.tmi.twitch.tv %s\r\n",
            nick[f], messages, nick[f], nick[f], nick[f], line);
        tell(f, out, sprintf(out, "@id=%ld :fanout USERSTATE %s\r\n", messages, c->name));
        if (rests == 0 || c->bytes > PENDING - 3 * LINE) flush(c);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) { fprintf(stderr, "calibrate PORT MS [LOSE]\n"); return 2; }
    lose = argc > 3 ? atol(argv[3]) : 0;
    double rests = atof(argv[2]) / 1000;
    signal(SIGTERM, stopping);
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(s, (void *)&a, sizeof a) || listen(s, 4096)) { perror("listen"); return 1; }
    fcntl(s, F_SETFL, O_NONBLOCK);
    int ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = s}, ev[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
    static char b[65536];
    while (!stop) {
        int wait = -1;
        double t = now();
        for (int i = 0; i < channels; i++)
            if (channel[i].bytes) {
                double left = channel[i].since + rests - t;
                int ms = left < 0 ? 0 : (int)(left * 1000) + 1;
                if (wait < 0 || ms < wait) wait = ms;
            }
        int k = epoll_wait(ep, ev, 512, wait);
        for (int i = 0; i < k; i++) {
            int f = ev[i].data.fd, n;
            if (f == s) {
                while ((n = accept4(s, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    if (n >= MAX_FDS) { close(n); continue; }
                    setsockopt(n, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct epoll_event in = {.events = EPOLLIN, .data.fd = n};
                    epoll_ctl(ep, EPOLL_CTL_ADD, n, &in);
                }
                continue;
            }
            memcpy(b, rest[f], rested[f]);
            n = recv(f, b + rested[f], sizeof b - LINE - 1, 0);
            if (n <= 0) { leave(f); continue; }
            n += rested[f];
            b[n] = 0;
            char *p = b, *q;
            for (; (q = memchr(p, '\n', b + n - p)); p = q + 1) {
                *q = 0;
                if (q > p && q[-1] == '\r') q[-1] = 0;
                take(f, p, rests);
            }
            rested[f] = b + n - p < LINE ? b + n - p : 0;
            memcpy(rest[f], p, rested[f]);
        }
        for (int i = 0; i < channels; i++)
            if (channel[i].bytes && now() - channel[i].since >= rests) flush(&channel[i]);
    }
    printf("messages %ld lost_writes %ld\n", messages, lost_writes);
    return 0;
}
