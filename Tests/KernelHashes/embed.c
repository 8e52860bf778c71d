// A file in a program that has no libc to open one: `model` to `model_end`.
__asm__(".section .rodata\n.globl model\n.balign 64\nmodel: .incbin \"" MODEL_FILE "\"\n.globl model_end\nmodel_end:\n.text\n");
