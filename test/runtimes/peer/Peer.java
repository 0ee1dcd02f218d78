/*
 * The peers of stream.ts and http.ts in Java.
 *
 *   Peer serve PORT                       java.net sockets, a thread a connection
 *   Peer call HOST PORT CONNECTIONS MS    the same, with a time-out of a read; 0: none
 *   Peer http PORT                        com.sun.net.httpserver, whose channels block while a request is served
 *   Peer ask HOST PORT CONNECTIONS        java.net.http, a client a connection
 */
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

final class Peer {
    static final int PERIOD = 65_521, CHUNK = 60_000, STEP = 977;
    static final int SLOW_BYTES = 50_000, SLOW_PAUSE_MS = 5;
    static final byte[] PATTERN = new byte[PERIOD + CHUNK];

    static {
        for (int i = 0; i < PATTERN.length; i++) {
            int at = i % PERIOD;
            PATTERN[i] = (byte) (at * 7 + (at >> 8) * 13);
        }
    }

    static void write(OutputStream to, long count, int start) throws IOException {
        for (long at = 0; at < count; at += CHUNK) {
            to.write(PATTERN, (int) ((start + at) % PERIOD), (int) Math.min(CHUNK, count - at));
        }
    }

    static MessageDigest sha256() throws Exception {
        return MessageDigest.getInstance("SHA-256");
    }

    static String hex(MessageDigest digest) {
        return HexFormat.of().formatHex(digest.digest());
    }

    interface Sink {
        void accept(byte[] bytes, int length) throws IOException;
    }

    /** Passes on what comes, so many bytes of it; at the end of the stream when count is negative. */
    static long pass(InputStream from, long count, int pauseMs, Sink to) throws Exception {
        byte[] buffer = new byte[pauseMs > 0 ? SLOW_BYTES : CHUNK];
        long came = 0;
        while (count < 0 || came < count) {
            int most = count < 0 ? buffer.length : (int) Math.min(buffer.length, count - came);
            int length = from.read(buffer, 0, most);
            if (length < 0 && count < 0) break;
            if (length < 0) throw new IOException("early-end");
            came += length;
            to.accept(buffer, length);
            if (pauseMs > 0) Thread.sleep(pauseMs);
        }
        return came;
    }

    static String line(InputStream from) throws IOException {
        StringBuilder line = new StringBuilder();
        for (int octet = from.read(); octet >= 0 && octet != '\n'; octet = from.read()) line.append((char) octet);
        return line.toString();
    }

    static void answer(Socket socket) throws Exception {
        InputStream in = socket.getInputStream();
        OutputStream out = socket.getOutputStream();
        for (String line = line(in); !line.isEmpty(); line = line(in)) {
            String[] words = line.split(" ");
            long count = words.length > 1 ? Long.parseLong(words[1]) : 0;
            switch (words[0]) {
                case "echo" -> pass(in, count, 0, (bytes, length) -> out.write(bytes, 0, length));
                case "give" -> write(out, count, Integer.parseInt(words[2]));
                case "take" -> {
                    MessageDigest digest = sha256();
                    pass(in, count, 0, (bytes, length) -> digest.update(bytes, 0, length));
                    out.write((hex(digest) + "\n").getBytes());
                }
                default -> {
                    pass(in, -1, 0, (bytes, length) -> out.write(bytes, 0, length));
                    socket.shutdownOutput();
                    return;
                }
            }
        }
    }

    static void serve(int port) throws Exception {
        ServerSocket listener = new ServerSocket(port);
        for (;;) {
            Socket socket = listener.accept();
            socket.setTcpNoDelay(true);
            Thread thread = new Thread(() -> {
                try (socket) {
                    answer(socket);
                } catch (Exception ended) {
                    // The caller has gone.
                }
            });
            thread.setDaemon(true);
            thread.start();
        }
    }

    static final class Caller {
        final Socket socket = new Socket();
        final int start;

        Caller(String host, int port, int index, int timeoutMs) throws IOException {
            socket.connect(new InetSocketAddress(host, port), 5_000);
            socket.setSoTimeout(timeoutMs);
            socket.setTcpNoDelay(true);
            start = index * STEP;
        }

        String requests(int count, int size) throws Exception {
            MessageDigest digest = sha256();
            InputStream in = socket.getInputStream();
            for (int i = 0; i < count; i++) {
                byte[] head = ("echo " + size + "\n").getBytes();
                byte[] whole = new byte[head.length + size];
                System.arraycopy(head, 0, whole, 0, head.length);
                for (int k = 0; k < size; k++) whole[head.length + k] = PATTERN[(start + i + k) % PERIOD];
                socket.getOutputStream().write(whole);
                pass(in, size, 0, (bytes, length) -> digest.update(bytes, 0, length));
            }
            return hex(digest);
        }

        String give(int count, int pauseMs) throws Exception {
            MessageDigest digest = sha256();
            socket.getOutputStream().write(("give " + count + " " + start + "\n").getBytes());
            pass(socket.getInputStream(), count, pauseMs, (bytes, length) -> digest.update(bytes, 0, length));
            return hex(digest);
        }

        String take(int count) throws Exception {
            socket.getOutputStream().write(("take " + count + "\n").getBytes());
            write(socket.getOutputStream(), count, start);
            String told = line(socket.getInputStream());
            return told.isEmpty() ? "early-end" : told;
        }

        String half(int count) throws Exception {
            Thread sending = new Thread(() -> {
                try {
                    socket.getOutputStream().write("copy\n".getBytes());
                    write(socket.getOutputStream(), count, start);
                    socket.shutdownOutput();
                } catch (IOException ended) {
                    // The reader tells.
                }
            });
            sending.start();
            MessageDigest digest = sha256();
            long came = pass(socket.getInputStream(), -1, 0, (bytes, length) -> digest.update(bytes, 0, length));
            sending.join();
            return came + ":" + hex(digest);
        }

        String play(String what, int a, int b) throws Exception {
            return switch (what) {
                case "requests" -> requests(a, b);
                case "give" -> give(a, 0);
                case "slow" -> give(a, SLOW_PAUSE_MS);
                case "take" -> take(a);
                case "half" -> half(a);
                default -> {
                    socket.close();
                    yield "closed";
                }
            };
        }
    }

    interface Work<T> {
        String on(T caller) throws Exception;
    }

    /** Does it with every caller at once, and prints one word of each. */
    static <T> void all(ExecutorService pool, List<T> callers, Work<T> work) throws Exception {
        List<Callable<String>> tasks = new ArrayList<>();
        for (T caller : callers) {
            tasks.add(() -> {
                try {
                    return work.on(caller);
                } catch (Exception error) {
                    return ("error:" + error).replace(' ', '-');
                }
            });
        }
        List<String> told = new ArrayList<>();
        for (Future<String> one : pool.invokeAll(tasks)) told.add(one.get());
        System.out.println(String.join(" ", told));
    }

    static void call(String host, int port, int connections, int timeoutMs) throws Exception {
        List<Caller> callers = new ArrayList<>();
        ExecutorService pool = Executors.newFixedThreadPool(connections);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = (line + " 0 0").split(" ");
            if (words[0].equals("open")) {
                callers.clear();
                for (int index = 0; index < connections; index++) callers.add(new Caller(host, port, index, timeoutMs));
                System.out.println("opened");
                continue;
            }
            int a = Integer.parseInt(words[1]), b = Integer.parseInt(words[2]);
            all(pool, callers, caller -> caller.play(words[0], a, b));
        }
        System.exit(0);
    }

    static void exchange(HttpExchange exchange) throws IOException {
        URI uri = exchange.getRequestURI();
        try (exchange) {
            switch (uri.getPath()) {
                case "/give" -> {
                    long count = Long.parseLong(uri.getQuery().replaceFirst("bytes=(\\d+).*", "$1"));
                    exchange.sendResponseHeaders(200, count == 0 ? -1 : count);
                    write(exchange.getResponseBody(), count, 0);
                }
                case "/take" -> {
                    MessageDigest digest = sha256();
                    pass(exchange.getRequestBody(), -1, 0, (bytes, length) -> digest.update(bytes, 0, length));
                    byte[] told = (hex(digest) + "\n").getBytes();
                    exchange.sendResponseHeaders(200, told.length);
                    exchange.getResponseBody().write(told);
                }
                case "/none" -> exchange.sendResponseHeaders(204, -1);
                default -> exchange.sendResponseHeaders(404, -1);
            }
        } catch (IOException error) {
            throw error;
        } catch (Exception error) {
            throw new IOException(error);
        }
    }

    static void http(int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 64);
        server.createContext("/", Peer::exchange);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.start();
    }

    static String ask(HttpClient client, String url, String what, int count) throws Exception {
        MessageDigest digest = sha256();
        TreeSet<Integer> codes = new TreeSet<>();
        for (int i = 0; i < (what.equals("get") ? count : 1); i++) {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url));
            if (what.equals("post")) {
                byte[] body = new byte[count];
                for (int k = 0; k < count; k++) body[k] = PATTERN[k % PERIOD];
                request.POST(HttpRequest.BodyPublishers.ofByteArray(body));
            }
            HttpResponse<byte[]> response = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
            codes.add(response.statusCode());
            digest.update(response.body());
        }
        return codes + ":" + hex(digest);
    }

    static void askAll(String host, int port, int connections) throws Exception {
        List<HttpClient> clients = new ArrayList<>();
        for (int index = 0; index < connections; index++) {
            clients.add(HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build());
        }
        ExecutorService pool = Executors.newFixedThreadPool(connections);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = (line + " 0 /").split(" ");
            if (words[0].equals("close")) {
                System.out.println("closed");
                continue;
            }
            String url = "http://" + host + ":" + port + words[2];
            all(pool, clients, client -> ask(client, url, words[0], Integer.parseInt(words[1])).replace(" ", ""));
        }
        System.exit(0);
    }

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[args[0].equals("serve") || args[0].equals("http") ? 1 : 2]);
        switch (args[0]) {
            case "serve" -> serve(port);
            case "http" -> http(port);
            case "ask" -> askAll(args[1], port, Integer.parseInt(args[3]));
            default -> call(args[1], port, Integer.parseInt(args[3]), Integer.parseInt(args[4]));
        }
    }
}
