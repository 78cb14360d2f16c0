import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.CountDownLatch;

/** Runs in a container: threads, a child process and a socket, as a worker has them. */
public final class Threads {
    private static final int THREADS = 64;

    public static void main(String[] arguments) throws Exception {
        CountDownLatch started = new CountDownLatch(THREADS);
        for (int i = 0; i < THREADS; i++) {
            new Thread(() -> {
                started.countDown();
                try {
                    started.await();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }).start();
        }
        started.await();
        int child = new ProcessBuilder("true").inheritIO().start().waitFor();
        try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                Socket client = new Socket(server.getInetAddress(), server.getLocalPort());
                Socket accepted = server.accept()) {
            client.getOutputStream().write(1);
            if (accepted.getInputStream().read() != 1) {
                throw new IllegalStateException("the socket gave another byte");
            }
        }
        if (child != 0) {
            throw new IllegalStateException("the child process ended with " + child);
        }
        System.out.println("ok      java " + Runtime.version() + ": " + THREADS + " threads, a child, a socket");
    }
}
