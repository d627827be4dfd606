//! The stack that the programs need, by the rule of the strictest kernel.
//!
//! The frames of a chain of calls add up to at most 512 bytes. Up to 6.8 each is rounded up to 32 bytes, since then to
//! 16 (`check_max_stack_depth` and `round_up_stack_depth`, kernel/bpf/verifier.c): a program that a new kernel takes can
//! be one that an old kernel refuses.

use std::collections::{BTreeSet, HashSet};

use aya_obj::{Object, generated::bpf_insn};

use super::loader::OBJECT;

/// `MAX_BPF_STACK`, include/linux/filter.h.
const STACK: usize = 512;
/// `MAX_CALL_FRAMES`, include/linux/bpf_verifier.h.
const FRAMES: usize = 8;
const ROUNDING: usize = 32;

/// Codes of instructions, of the kernel's Documentation/bpf/standardization/instruction-set.rst.
const CALL: u8 = 0x85;
const MOVE: u8 = 0xbf;
const ADD_IMMEDIATE: u8 = 0x07;
/// `BPF_PSEUDO_CALL`: the call is to another function of the program.
const TO_FUNCTION: u8 = 1;
/// The frame pointer.
const FRAME: u8 = 10;

const CLASS: u8 = 0x07;
const LOAD: u8 = 0x01;
const STORE_IMMEDIATE: u8 = 0x02;
const STORE: u8 = 0x03;

/// A linked program: its instructions, and where its functions begin.
struct Linked {
    instructions: Vec<bpf_insn>,
    functions: BTreeSet<usize>,
}

impl Linked {
    fn new(instructions: Vec<bpf_insn>) -> Self {
        let called = (0..instructions.len()).filter_map(|at| callee(&instructions, at));
        let functions = called.chain([0]).collect();
        Self {
            instructions,
            functions,
        }
    }

    /// The instructions of the function that begins here.
    fn body(&self, start: usize) -> std::ops::Range<usize> {
        let next = self.functions.range(start + 1..).next().copied();
        start..next.unwrap_or(self.instructions.len())
    }

    /// The bytes of its frame that the function that begins here uses.
    fn frame(&self, start: usize) -> usize {
        self.body(start)
            .filter_map(|at| lowest(&self.instructions, at))
            .max()
            .unwrap_or(0)
    }

    /// The greatest number of functions that are called one inside the other, from the one that begins here.
    fn nested(&self, start: usize) -> usize {
        let called = self
            .body(start)
            .filter_map(|at| callee(&self.instructions, at));
        1 + called.map(|target| self.nested(target)).max().unwrap_or(0)
    }

    /// The deepest chain of calls from the function that begins here: its bytes, rounded up, and its functions.
    fn deepest(&self, start: usize) -> (usize, Vec<usize>) {
        let mut deepest = (0, Vec::new());
        for at in self.body(start) {
            if let Some(target) = callee(&self.instructions, at) {
                deepest = deepest.max(self.deepest(target));
            }
        }
        let (bytes, mut chain) = deepest;
        chain.insert(0, start);
        let frame = self.frame(start).max(1).next_multiple_of(ROUNDING);
        (bytes + frame, chain)
    }
}

/// Where the function begins that the instruction at this place calls.
fn callee(instructions: &[bpf_insn], at: usize) -> Option<usize> {
    let call = &instructions[at];
    (call.code == CALL && call.src_reg() == TO_FUNCTION).then(|| {
        at.checked_add_signed(call.imm as isize + 1)
            .expect("a call leads to a function of the same program")
    })
}

/// How far below the frame pointer the instruction at this place reaches, by itself or by an address that it makes.
fn lowest(instructions: &[bpf_insn], at: usize) -> Option<usize> {
    let this = &instructions[at];
    let offset = match this.code & CLASS {
        LOAD if this.src_reg() == FRAME => i32::from(this.off),
        STORE | STORE_IMMEDIATE if this.dst_reg() == FRAME => i32::from(this.off),
        _ if this.code == MOVE && this.src_reg() == FRAME => {
            let next = instructions.get(at + 1)?;
            let is_sum = next.code == ADD_IMMEDIATE && next.dst_reg() == this.dst_reg();
            assert!(
                is_sum,
                "a frame's address is used in a way that is not known here"
            );
            next.imm
        }
        _ => return None,
    };
    usize::try_from(-offset).ok()
}

#[test]
fn every_chain_of_calls_fits_the_stack_of_every_kernel() {
    let mut object = Object::parse(OBJECT).expect("the object is one that aya reads");
    let sections: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    object
        .relocate_calls(&sections)
        .expect("every called function is in the object");
    assert!(object.programs.len() > 10, "the object has the programs");

    let mut frames = 0;
    for (name, program) in &object.programs {
        let function = &object.functions[&program.function_key()];
        let program = Linked::new(function.instructions.clone());
        let (bytes, chain) = program.deepest(0);
        let sizes: Vec<_> = chain.iter().map(|start| program.frame(*start)).collect();
        println!("{bytes:>4} {name} {sizes:?}");
        assert!(
            bytes <= STACK,
            "{name} needs {bytes} bytes of stack: {sizes:?} from the program to the last function called"
        );
        let nested = program.nested(0);
        assert!(nested <= FRAMES, "{name} calls {nested} deep");
        frames = frames.max(nested);
    }
    assert!(frames > 1, "calls are followed");
}
