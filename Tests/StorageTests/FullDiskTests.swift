// A disk that is really full: a file system of 2 MiB in memory. Needs the right to mount; where it is missing the test
// says so and ends.

import Foundation
import Primitives
import Testing

@testable import Storage

@Suite struct FullDiskTests {
    private func run(_ arguments: String...) -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    @Test func aFullDiskIsNamedAndNothingAcknowledgedIsLost() throws {
        let home = TemporaryHome()
        guard geteuid() == 0, run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", home.path) else {
            print("SKIPPED: the test of a full disk needs the right to mount a file system")
            return
        }
        defer { _ = run("umount", home.path) }
        try fill(home.path)
        // After the fault the store opens, holds what it promised, and takes writes again once there is room.
        let store = try open(home.path)
        #expect(try store.get("plain", [0]) == [UInt8](repeating: 0, count: 100_000))
        try store.check()
        try FileManager.default.removeItem(atPath: "\(home.path)/ballast")
        try store.write([StoreWrite(table: "plain", key: [200], value: [1])])
        store.close()
    }

    private func open(_ home: String) throws -> Store {
        var configuration = StoreConfiguration()
        configuration.reserveBytes = 0
        return try Store(home: home, schema: Schema(version: 1, tables: ["plain"]), configuration: configuration)
    }

    private func fill(_ home: String) throws {
        let store = try open(home)
        try Data(count: 500_000).write(to: URL(fileURLWithPath: "\(home)/ballast"))
        var acknowledged: [UInt8] = []
        var refusal: StorageFault?
        for index in 0..<40 as Range<UInt8> where refusal == nil {
            do {
                let value = [UInt8](repeating: index, count: 100_000)
                try store.write([StoreWrite(table: "plain", key: [index], value: value)])
                acknowledged.append(index)
            } catch {
                refusal = error
            }
        }
        let fault = try #require(refusal, "4 MB went into 2 MiB")
        guard case .diskFull = fault else {
            Issue.record("\(fault)")
            return
        }
        #expect(fault.description.contains("the disk is full"))
        #expect(acknowledged.count > 3)
        for index in acknowledged {
            #expect(try store.get("plain", [index]) == [UInt8](repeating: index, count: 100_000))
        }
        store.close()
    }
}
