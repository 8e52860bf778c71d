// The programs of Tests/KernelHashes: built of the kernels alone, for this machine and for arm64, which qemu runs.

import Foundation
import Testing

enum KernelProgram {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    private static let kernels = root.appendingPathComponent("Sources/Models/Kernels").path
    private static let programs = root.appendingPathComponent("Tests/KernelHashes").path

    static var clang: String? { tool(["clang"]) }
    static var qemu: String? { tool(["qemu-aarch64-static", "qemu-aarch64"]) }

    /// A compiler's flags for each machine.
    static let host = ["-lm"]
    static let arm64 = [
        "--target=aarch64-linux-gnu", "-ffreestanding", "-fno-math-errno", "-nostdlib", "-static", "-fuse-ld=lld",
    ]

    private static func tool(_ names: [String]) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        return names.lazy.flatMap { name in folders.map { $0 + "/" + name } }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    static func run(_ tool: String, _ arguments: [String]) throws -> (status: Int32, text: String) {
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

    static func build(_ source: String, _ compiler: String, _ flags: [String], into path: String) throws {
        let sources = try FileManager.default.contentsOfDirectory(atPath: kernels).sorted()
            .filter { $0.hasSuffix(".c") }.map { kernels + "/" + $0 }
        let (status, text) = try run(
            compiler, ["-O2", "-I", kernels + "/include", "\(programs)/\(source)"] + sources + flags + ["-o", path])
        try #require(status == 0, "clang could not build \(source): \(text)")
    }

    /// Runs `body` with a folder that is gone afterwards.
    static func inFolder(_ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder)
    }

    /// Lines of "what set hash": what was seen of each, by set.
    static func hashes(_ text: String) -> [String: [String: String]] {
        var found: [String: [String: String]] = [:]
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ").map(String.init)
            guard fields.count == 3 else { continue }
            found[fields[0], default: [:]][fields[1]] = fields[2]
        }
        return found
    }
}
