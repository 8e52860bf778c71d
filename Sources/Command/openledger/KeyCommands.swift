import ArgumentParser
import Foundation
import Primitives

struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Back the peer's key up, or restore it. Never overwrites.",
        subcommands: [Backup.self, Restore.self])

    struct Passphrase: ParsableArguments {
        @Option(help: ArgumentHelp("Read the passphrase from the first line of this file.", valueName: "file"))
        var passphraseFile: String?

        /// From the file, then $OPENLEDGER_PASSPHRASE, then the terminal.
        func read(twice: Bool) throws -> [UInt8] {
            let text: String
            if let passphraseFile {
                let content = try readFile(absolutePath(passphraseFile), bytesMax: 4096)
                text = String(decoding: content.prefix { $0 != 0x0a && $0 != 0x0d }, as: UTF8.self)
            } else if let variable = ProcessInfo.processInfo.environment["OPENLEDGER_PASSPHRASE"] {
                text = variable
            } else if isatty(0) == 1 {
                text = Self.ask("Passphrase: ")
                if twice, Self.ask("Once more: ") != text { throw CommandFault(.usage, "the two passphrases differ") }
            } else {
                throw CommandFault(.usage, "a passphrase is needed: --passphrase-file FILE or $OPENLEDGER_PASSPHRASE")
            }
            guard text.utf8.count >= 8 else { throw CommandFault(.usage, "a passphrase has at least 8 characters") }
            return Array(text.utf8)
        }

        private static func ask(_ prompt: String) -> String {
            guard let line = getpass(prompt) else { return "" }
            return String(cString: line)
        }
    }

    struct Backup: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write the key to a new file, encrypted by a passphrase.",
            discussion: "EXAMPLE\n  openledger key backup ~/openledger.key")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var passphrase: Passphrase
        @Argument(help: "The file to write; it must not exist.")
        var file: String

        func run() async throws {
            let path = absolutePath(file)
            guard !FileManager.default.fileExists(atPath: path) else {
                throw CommandFault(.failed, "\(path) exists; a backup never overwrites")
            }
            let value = try await peerHost.backUpKey(
                home: global.homePath, to: path, passphrase: try passphrase.read(twice: true))
            global.output.result(value) {
                "The key of \(value.shown("peer")) is in \(path). Keep it away from this machine."
            }
        }
    }

    struct Restore: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Put a backed-up key into a home that has none.",
            discussion: "EXAMPLE\n  openledger key restore ~/openledger.key --home ~/new-home")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var passphrase: Passphrase
        @Argument(help: "The file that key backup wrote.")
        var file: String

        func run() async throws {
            let path = absolutePath(file)
            guard FileManager.default.fileExists(atPath: path) else {
                throw CommandFault(.failed, "\(path): there is no such file")
            }
            let value = try await peerHost.restoreKey(
                home: global.homePath, from: path, passphrase: try passphrase.read(twice: false))
            global.output.result(value) { "This home is now peer \(value.shown("peer")). Run the original no longer." }
        }
    }
}
