//! Types shared between the XDP programs and userspace.
#![no_std]
