// Options that every command takes, and the home they name.

import ArgumentParser
import Foundation

struct GlobalOptions: ParsableArguments {
    @Option(name: .long, help: "The peer's home (default: $OPENLEDGER_HOME, then $XDG_DATA_HOME/openledger).")
    var home: String?

    @Flag(
        name: .long, help: "One JSON object on stdout, or one a line where it streams; text for people goes to stderr.")
    var json = false

    var output: Output { Output(json: json) }

    /// Absolute, without "..", so that a child process and an error message mean the same folder.
    var homePath: String { Self.homePath(option: home, environment: ProcessInfo.processInfo.environment) }

    static func homePath(option: String?, environment: [String: String]) -> String {
        let chosen =
            option
            ?? environment["OPENLEDGER_HOME"].flatMap { $0.isEmpty ? nil : $0 }
            ?? environment["XDG_DATA_HOME"].flatMap { $0.hasPrefix("/") ? "\($0)/openledger" : nil }
            ?? "\(NSHomeDirectory())/.local/share/openledger"
        return absolutePath(chosen)
    }
}

/// The path as seen from the working directory of this command.
func absolutePath(_ path: String) -> String {
    let expanded = path == "~" || path.hasPrefix("~/") ? NSHomeDirectory() + path.dropFirst() : path
    return URL(fileURLWithPath: expanded).standardizedFileURL.path
}

/// Reads a whole file that a person named.
func readFile(_ path: String, bytesMax: Int) throws -> [UInt8] {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
        throw CommandFault(.failed, "\(path): there is no such file")
    }
    guard !isFolder.boolValue else { throw CommandFault(.failed, "\(path) is a folder; a file is needed here") }
    do {
        let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        defer { try? handle.close() }
        let content = try handle.read(upToCount: bytesMax + 1) ?? Data()
        guard content.count <= bytesMax else {
            throw CommandFault(
                .usage, "\(path): larger than the \(bytesMax >> 20) MiB that one command takes; split it")
        }
        return [UInt8](content)
    } catch let fault as CommandFault {
        throw fault
    } catch {
        throw CommandFault(.failed, "\(path): \(error.localizedDescription)")
    }
}

/// Writes a new file beside its name and moves it there, so that a half-written one is never seen.
func writeFile(_ path: String, _ content: [UInt8], overwrite: Bool) throws {
    if !overwrite, FileManager.default.fileExists(atPath: path) {
        throw CommandFault(.failed, "\(path) exists; name another file or pass --force")
    }
    do {
        try Data(content).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
        throw CommandFault(.failed, "\(path): \(error.localizedDescription)")
    }
}
