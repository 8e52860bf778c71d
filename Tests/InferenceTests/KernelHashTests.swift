// The same bits on another processor: Tests/KernelHashes/hashes.c runs every kernel over odd sizes and prints a hash a
// kernel and instruction set. It is built for this machine and for arm64, which qemu runs, and all hashes of a kernel
// must agree.

import Foundation
import Testing

@Suite(.serialized) struct KernelHashTests {
    private func hashes(_ text: String) -> [String: Set<String>] {
        KernelProgram.hashes(text).mapValues { Set($0.values) }
    }

    @Test func everyInstructionSetAnswersTheSame() async throws {
        guard let clang = KernelProgram.clang else {
            print("SKIPPED: KernelHashTests needs clang, which comes with the Swift toolchain")
            return
        }
        try await KernelProgram.inFolder { folder in
            let host = try await KernelProgram.build("hashes.c", clang, KernelProgram.host, in: folder)
            var (status, text) = try await KernelProgram.run(host, [])
            #expect(status == 0)
            let here = hashes(text)
            #expect(here.count == 8 && here.values.allSatisfy { $0.count == 1 }, "\(text)")

            // The planted difference must be seen.
            (status, text) = try await KernelProgram.run(host, ["planted"])
            if text.contains("avx2") || text.contains("neon") {
                #expect(hashes(text)["int8"]?.count == 2)
            }

            guard let qemu = KernelProgram.qemu else {
                print("SKIPPED: the arm64 kernels need qemu-aarch64 to run here (Debian: qemu-user-static)")
                return
            }
            let arm = try await KernelProgram.build("hashes.c", clang, KernelProgram.arm64, in: folder)
            (status, text) = try await KernelProgram.run(qemu, [arm])
            #expect(status == 0 && text.contains("neon-dot"), "\(text)")
            #expect(hashes(text) == here, "arm64 differs: \(text)")
        }
    }
}
