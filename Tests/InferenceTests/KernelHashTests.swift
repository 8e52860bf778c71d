// The same bits on another processor: Tests/KernelHashes/hashes.c runs every kernel over odd sizes and prints a hash a
// kernel and instruction set. It is built for this machine and for arm64, which qemu runs, and all hashes of a kernel
// must agree.

import Foundation
import Testing

@Suite(.serialized) struct KernelHashTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    private static let kernels = root.appendingPathComponent("Sources/Models/Kernels").path
    private static let program = root.appendingPathComponent("Tests/KernelHashes/hashes.c").path

    private static func tool(_ names: [String]) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        return names.lazy.flatMap { name in folders.map { $0 + "/" + name } }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    private static func run(_ tool: String, _ arguments: [String]) throws -> (status: Int32, text: String) {
        let process = Process(), output = Pipe()
        process.executableURL = URL(fileURLWithPath: tool)
        process.arguments = arguments
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    private static func build(_ compiler: String, _ flags: [String], into path: String) throws {
        let sources = try FileManager.default.contentsOfDirectory(atPath: kernels).sorted()
            .filter { $0.hasSuffix(".c") }.map { kernels + "/" + $0 }
        let (status, text) = try run(
            compiler, ["-O2", "-I", kernels + "/include", program] + sources + flags + ["-o", path])
        try #require(status == 0, "clang could not build the kernels: \(text)")
    }

    /// Lines of "kernel set hash" by kernel: the hashes seen.
    private func hashes(_ text: String) -> [String: Set<String>] {
        var found: [String: Set<String>] = [:]
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ").map(String.init)
            guard fields.count == 3 else { continue }
            found[fields[0], default: []].insert(fields[2])
        }
        return found
    }

    @Test func everyInstructionSetAnswersTheSame() throws {
        guard let clang = Self.tool(["clang"]) else {
            print("SKIPPED: KernelHashTests needs clang, which comes with the Swift toolchain")
            return
        }
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let host = folder.appendingPathComponent("host").path
        try Self.build(clang, ["-lm"], into: host)
        var (status, text) = try Self.run(host, [])
        #expect(status == 0)
        let here = hashes(text)
        #expect(here.count == 8 && here.values.allSatisfy { $0.count == 1 }, "\(text)")

        // The planted difference must be seen.
        (status, text) = try Self.run(host, ["planted"])
        if text.contains("avx2") || text.contains("neon") {
            #expect(hashes(text)["int8"]?.count == 2)
        }

        guard let qemu = Self.tool(["qemu-aarch64-static", "qemu-aarch64"]) else {
            print("SKIPPED: the arm64 kernels need qemu-aarch64 to run here (Debian: qemu-user-static)")
            return
        }
        let arm = folder.appendingPathComponent("arm64").path
        try Self.build(
            clang,
            [
                "--target=aarch64-linux-gnu", "-ffreestanding", "-fno-math-errno", "-nostdlib", "-static",
                "-fuse-ld=lld",
            ], into: arm)
        (status, text) = try Self.run(qemu, [arm])
        #expect(status == 0 && text.contains("neon-dot"), "\(text)")
        #expect(hashes(text) == here, "arm64 differs: \(text)")
    }
}
