//! Swarms on a virtual network with a virtual clock (development only).
