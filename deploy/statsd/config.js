// The statsd daemon between Tallgrass' services and Graphite. `node stats.js config.js`, ports from the environment.
//
// The names that services send stay as they are: tallgrass.<cluster>.<service>.<instance>.<metric>, with .rate and
// .count behind a counter. A gauge that is not sent any more ends: a process that died must not look alive.
({
  port: Number(process.env.STATSD_PORT || 8125),
  address: process.env.STATSD_ADDRESS || "127.0.0.1",
  mgmt_port: Number(process.env.STATSD_MANAGEMENT_PORT || 8126),
  mgmt_address: "127.0.0.1",

  flushInterval: 1000,
  deleteGauges: true,
  keyNameSanitize: true,

  // STATSD_REPEAT=PORT: what comes in goes on to that port of this machine as it is, for `tallgrass top`.
  backends: ["./backends/graphite"].concat(process.env.STATSD_REPEAT ? ["./backends/repeater"] : []),
  repeater: process.env.STATSD_REPEAT ? [{ host: "127.0.0.1", port: Number(process.env.STATSD_REPEAT) }] : [],

  graphiteHost: process.env.GRAPHITE_HOST || "127.0.0.1",
  graphitePort: Number(process.env.GRAPHITE_PORT || 2003),
  graphite: {
    legacyNamespace: false,
    globalPrefix: "",
    prefixCounter: "",
    prefixGauge: "",
    prefixStats: "statsd",
  },
})
