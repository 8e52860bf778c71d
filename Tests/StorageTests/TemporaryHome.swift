import Foundation

/// A folder for one test, removed when the test lets go of it.
final class TemporaryHome: Sendable {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("openledger-\(UUID().uuidString)").path
        let made: ()? = try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        precondition(made != nil, "no temporary folder")
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
