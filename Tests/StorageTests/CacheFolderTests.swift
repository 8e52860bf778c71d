import Foundation
import Testing

@testable import Storage

@Suite struct CacheFolderTests {
    private func write(_ folder: CacheFolder, _ name: String, _ bytes: [UInt8]) throws -> Bool {
        try folder.write(name, bytes: UInt64(bytes.count)) { put throws(StorageFault) in
            let outcome = bytes.withUnsafeBytes { buffer -> Result<Void, StorageFault> in
                do throws(StorageFault) { return .success(try put(buffer)) } catch { return .failure(error) }
            }
            try outcome.get()
        }
    }

    @Test func whatIsWrittenIsMapped() throws {
        let home = TemporaryHome()
        let folder = try CacheFolder(path: home.path + "/cache", filesMax: 2, reserveBytes: 0)
        #expect(try folder.map("a") == nil)
        #expect(try write(folder, "a", [1, 2, 3]))
        #expect(try folder.map("a")?.withUnsafeBytes { Array($0) } == [1, 2, 3])
        // Written again, whole: who maps the old one keeps it.
        let old = try #require(try folder.map("a"))
        #expect(try write(folder, "a", [4]))
        #expect(old.withUnsafeBytes { Array($0) } == [1, 2, 3])
        #expect(try folder.map("a")?.byteCount == 1)
        try folder.remove("a")
        try folder.remove("a")
        #expect(!folder.contains("a"))
    }

    @Test func theLongestUnusedGoesFirst() throws {
        let home = TemporaryHome()
        let folder = try CacheFolder(path: home.path, filesMax: 2, reserveBytes: 0)
        for (index, name) in ["a", "b"].enumerated() {
            #expect(try write(folder, name, [0]))
            var times = [timeval(tv_sec: 1000 + index, tv_usec: 0), timeval(tv_sec: 1000 + index, tv_usec: 0)]
            utimes("\(home.path)/\(name)", &times)
        }
        // Reading counts as use.
        _ = try folder.map("a")
        #expect(try write(folder, "c", [0]))
        #expect(try folder.names() == ["a", "c"])
    }

    @Test func halfOfAFileIsNone() throws {
        let home = TemporaryHome()
        let folder = try CacheFolder(path: home.path, filesMax: 2, reserveBytes: 0)
        #expect(throws: StorageFault.self) {
            try folder.write("a", bytes: 8) { put throws(StorageFault) in
                throw StorageFault.from(ENOSPC, "write", path: "a")
            }
        }
        #expect(try folder.names() == [])
        // What a crash left is gone with the next start.
        try Data([1]).write(to: URL(fileURLWithPath: "\(home.path)/b.partial"))
        _ = try CacheFolder(path: home.path, filesMax: 2, reserveBytes: 0)
        #expect(try folder.names() == [])
    }

    @Test func aFullDiskIsNotFilled() throws {
        let home = TemporaryHome()
        let folder = try CacheFolder(path: home.path, filesMax: 2, reserveBytes: .max / 2)
        #expect(try write(folder, "a", [1]) == false)
        #expect(try folder.names() == [])
    }
}
