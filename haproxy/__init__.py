"""The load balancer's configuration as templates; `ops.haproxy` fills them in."""
