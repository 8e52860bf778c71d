// Nothing acknowledged is lost by kill -9. The test starts its own executable once more as a child that writes and, after
// each acknowledgement, prints what was acknowledged; the parent kills it in the middle, opens the home and looks.

import Foundation
import Primitives
import Testing

@testable import Storage

private let homeVariable = "OPENLEDGER_STORAGE_CRASH_HOME"
private let numbers = Table<UInt64, [UInt8]>("numbers", keys: .uint64, values: .bytes)
private let schema = Schema(version: 1, tables: [numbers.id])

private func value(_ number: UInt64) -> [UInt8] {
    var random = SeededRandom(seed: number)
    return random.bytes(Int(random.below(3000)))
}

@Suite struct CrashTests {
    /// The child's part; does nothing in a normal run.
    @Test(.enabled(if: ProcessInfo.processInfo.environment[homeVariable] != nil))
    func writesUntilItIsKilled() throws {
        guard let home = ProcessInfo.processInfo.environment[homeVariable] else { return }
        var configuration = StoreConfiguration()
        configuration.mapBytes = 1 << 20
        let store = try Store(home: home, schema: schema, configuration: configuration)
        let acknowledged = open("\(home)/acknowledged", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        let first = UInt64(try store.entryCount(numbers.id))
        for number in first..<first + 200_000 {
            while true {
                do {
                    try store.write([numbers.put(number, value(number))]) { result in
                        guard case .success = result else { return }
                        let bytes = Codec.uint64.encode(number)
                        _ = write(acknowledged, bytes, bytes.count)
                    }
                    break
                } catch StorageFault.writerQueueFull {
                    usleep(200)
                }
            }
        }
        Issue.record("nobody killed the child")
    }

    @Test(.enabled(if: ProcessInfo.processInfo.environment[homeVariable] == nil))
    func nothingAcknowledgedIsLostByKill9() throws {
        let home = TemporaryHome()
        var last = 0
        for round in 0..<3 {
            let child = Process()
            child.executableURL = URL(fileURLWithPath: try #require(CommandLine.arguments.first))
            child.arguments = ["--testing-library", "swift-testing", "--filter", "writesUntilItIsKilled"]
            child.environment = ProcessInfo.processInfo.environment.merging([homeVariable: home.path]) { $1 }
            child.standardOutput = FileHandle.nullDevice
            child.standardError = FileHandle.nullDevice
            try child.run()
            // Until it has acknowledged something new; then at some moment of the next 200 ms.
            let deadline = Date().addingTimeInterval(20)
            while acknowledged(home).count <= last, child.isRunning, Date() < deadline { usleep(5_000) }
            usleep(UInt32(20_000 + 60_000 * round))
            #expect(child.isRunning, "the child ended by itself: \(child.arguments ?? [])")
            kill(child.processIdentifier, SIGKILL)
            child.waitUntilExit()

            let promised = acknowledged(home)
            #expect(promised.count > last)
            last = promised.count
            let store = try Store(home: home.path, schema: schema)
            for number in promised { #expect(try store.get(numbers, number) == value(number)) }
            // And nothing between them is missing: the order of the acknowledgements is the order on disk.
            #expect(promised == Array(0..<UInt64(promised.count)))
            try store.check()
            store.close()
            // Written but not acknowledged before the kill; the next child goes on behind it.
            let present = try store.entryCount(numbers.id)
            #expect(present >= promised.count)
            let bytes = (UInt64(promised.count)..<UInt64(present)).flatMap { Codec.uint64.encode($0) }
            let file = try #require(FileHandle(forWritingAtPath: "\(home.path)/acknowledged"))
            try file.seekToEnd()
            file.write(Data(bytes))
            last = present
        }
    }

    private func acknowledged(_ home: TemporaryHome) -> [UInt64] {
        let bytes = (try? [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(home.path)/acknowledged")))) ?? []
        return stride(from: 0, to: bytes.count / 8 * 8, by: 8).compactMap {
            Codec.uint64.decode(Array(bytes[$0..<$0 + 8]))
        }
    }
}
