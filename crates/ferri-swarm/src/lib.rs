//! Our side of one swarm: peers, picking, choking, without I/O.
