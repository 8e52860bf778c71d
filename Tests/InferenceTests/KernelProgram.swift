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

    /// Off the tasks' threads, which others wait for.
    static func run(_ tool: String, _ arguments: [String]) async throws -> (status: Int32, text: String) {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                let process = Process(), output = Pipe()
                process.executableURL = URL(fileURLWithPath: tool)
                process.arguments = arguments
                process.standardOutput = output
                process.standardError = output
                do {
                    try process.run()
                } catch {
                    return continuation.resume(throwing: error)
                }
                let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                process.waitUntilExit()
                continuation.resume(returning: (process.terminationStatus, text))
            }
        }
    }

    /// - Returns: the program's path.
    static func build(_ source: String, _ compiler: String, _ flags: [String], in folder: URL) async throws -> String {
        try await link(try await compile(source, compiler, flags, in: folder), compiler, flags, in: folder)
    }

    /// - Returns: objects of the kernels and a program.
    static func compile(_ source: String, _ compiler: String, _ flags: [String], in folder: URL) async throws
        -> [String]
    {
        let sources = try FileManager.default.contentsOfDirectory(atPath: kernels).sorted()
            .filter { $0.hasSuffix(".c") }.map { kernels + "/" + $0 }
        var objects: [String] = []
        for file in ["\(programs)/\(source)"] + sources {
            objects.append(new("o", folder))
            let flags = ["-O2", "-c", "-I", kernels + "/include", file] + flags
            try await clang(compiler, flags + ["-o", objects[objects.count - 1]])
        }
        return objects
    }

    /// - Returns: an object that holds a file (embed.c).
    static func embed(_ file: URL, _ compiler: String, _ flags: [String], in folder: URL) async throws -> String {
        let object = new("o", folder), define = "-DMODEL_FILE=\"\(file.path)\""
        try await clang(compiler, ["-c", define, "\(programs)/embed.c"] + flags + ["-o", object])
        return object
    }

    static func link(_ objects: [String], _ compiler: String, _ flags: [String], in folder: URL) async throws
        -> String
    {
        let program = new("program", folder)
        try await clang(compiler, objects + flags + ["-o", program])
        return program
    }

    private static func new(_ ending: String, _ folder: URL) -> String {
        folder.appendingPathComponent("\(UUID().uuidString).\(ending)").path
    }

    private static func clang(_ compiler: String, _ arguments: [String]) async throws {
        let (status, text) = try await run(compiler, arguments + ["-Wno-unused-command-line-argument"])
        try #require(status == 0, "clang failed: \(arguments): \(text)")
    }

    /// Runs `body` with a folder that is gone afterwards.
    static func inFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
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
