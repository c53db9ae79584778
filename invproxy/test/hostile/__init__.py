"""
Hostile HTTP: requests and responses that were made to be understood in two ways, each with what becomes of it; and
hostile agents, proxies and clients, who abuse what they are allowed to say.

A row is all that is needed to add another. The tables:

 - L{invproxy.test.hostile.lengths}: Content-Length and Transfer-Encoding in all their disguises.
 - L{invproxy.test.hostile.chunking}: bodies in chunks.
 - L{invproxy.test.hostile.lines}: line ends, control characters, names and values, and what is too much.
 - L{invproxy.test.hostile.targets}: request targets and Host.
 - L{invproxy.test.hostile.hops}: connection options, forwarding fields, upgrades, expectations, methods, versions.
 - L{invproxy.test.hostile.pipelines}: what stands behind a request.
 - L{invproxy.test.hostile.responses}: what backends answer.
 - L{invproxy.test.hostile.probes}: the cases of h1spec and the mutations of smuggler, made anew.
 - L{invproxy.test.hostile.agents}: what agents send through tunnels, and as fields of responses.
 - L{invproxy.test.hostile.proxies}: what proxies send to agents.
 - L{invproxy.test.hostile.clients}: how clients would be agents, or somebody else.

L{invproxy.test.hostile.cases} says what a row is, and L{invproxy.test.hostile.stage} is where it is played.
"""
