"""
The tunnel: one WebSocket between an agent and a proxy, which carries many exchanges as framed streams. What both roles
have in common; what each does with a stream is theirs, in C{invproxy.proxy.tunneling} and C{invproxy.agent.tunneler}.
"""
